/* The head of an HTTP/1 request (RFC 9112): enough of it to know the Host. */
#include "core.h"

static bool is_token(uint8_t ch)
{
    return (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || ch == '-' || ch == '_';
}

/* A method of up to 20 letters, a blank, a target: "could be" while the bytes are too few to say no. */
static bool may_be_request(const uint8_t *data, size_t length)
{
    size_t n = 0;
    while (n < length && n < 20 && is_token(data[n]))
        n++;
    if (n == length)
        return true;
    if (n < 3 || data[n] != ' ')
        return false;
    if (n + 1 == length)
        return true;
    uint8_t first = data[n + 1];
    return first == '/' || first == '*' || (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') ||
           (first >= '0' && first <= '9') || first == '[';
}

/* The request line must name the version, or this is some other protocol of words. */
static bool is_request_line(const uint8_t *line, size_t length)
{
    static const char version[] = " HTTP/1.";
    size_t tail = sizeof version;                              /* the digit included */
    return length > tail && !memcmp(line + length - tail, version, sizeof version - 1);
}

static bool is_host(const uint8_t *line, size_t length)
{
    static const char host[] = "host:";
    if (length < 5)
        return false;
    for (size_t i = 0; i < 5; i++)
        if ((line[i] | (line[i] >= 'A' && line[i] <= 'Z' ? 0x20 : 0)) != host[i])
            return false;
    return true;
}

static bool is_blank(uint8_t ch)
{
    return ch == ' ' || ch == '\t';
}

/* The value without blanks around it and without a port. */
static void set_host(const uint8_t *line, size_t length, struct hello *out)
{
    size_t from = 5;
    while (from < length && is_blank(line[from]))
        from++;
    while (length > from && is_blank(line[length - 1]))
        length--;
    size_t end = from;
    bool bracket = false;
    while (end < length && (bracket || line[end] != ':')) {
        bracket = line[end] == '[' || (bracket && line[end] != ']');
        end++;
    }
    size_t n = end - from < MAX_NAME ? end - from : MAX_NAME;
    memcpy(out->name, line + from, n);
    out->name_length = (uint16_t)n;
    out->has_sni = n != 0;
}

enum parsed http_request(const uint8_t *data, size_t length, uint32_t *line, struct hello *out)
{
    memset(out, 0, offsetof(struct hello, name));
    out->has_sni = out->has_ech = false;
    out->name_length = 0;
    if (*line == 0 && !may_be_request(data, length))
        return PARSED_NO;
    for (;;) {                                                 /* advances >= 1: a line */
        const uint8_t *at = data + *line, *newline = memchr(at, '\n', length - *line);
        if (!newline)
            break;
        size_t n = (size_t)(newline - at);
        if (n && at[n - 1] == '\r')
            n--;
        if (*line == 0 && !is_request_line(at, n))
            return PARSED_NO;
        bool ends = n == 0 && *line != 0;
        *line = (uint32_t)(newline + 1 - data);
        out->length = *line;
        if (is_host(at, n))
            set_host(at, n, out);
        if (ends || out->has_sni)
            return PARSED_YES;
    }
    out->length = (uint32_t)length + 1;
    return PARSED_MORE;
}
