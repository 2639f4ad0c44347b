#include "scan.h"

enum { AGREE = 8 };

bool clock_decide(struct clock *c, int64_t time_ns, int64_t *jump)
{
    if (!c->started) {
        c->started = true;
        c->now = time_ns;
        return false;
    }
    int64_t step;
    bool far = __builtin_sub_overflow(time_ns, c->now, &step) || step > JUMP || step < -JUMP;
    if (!far) {                                        /* a little back */
        c->agreeing = 0;
        return false;
    }
    int64_t apart;
    bool agrees = c->agreeing && !__builtin_sub_overflow(time_ns, c->proposed, &apart) && apart < 60 * SECOND &&
                  apart > -60 * SECOND;
    c->agreeing = agrees ? c->agreeing + 1 : 1;
    c->proposed = time_ns;
    if (c->agreeing < AGREE)
        return false;
    c->agreeing = 0;
    *jump = step;
    c->now = time_ns;
    return true;
}
