/* The head of an HTTP/1 response (RFC 9112) and the beginning of its page; or a page without any head, as some injectors
 * send. */
#include "answer.h"

enum { MAX_LOCATION = 255, MAX_SERVER = 64, MAX_TITLE = 96, MAX_PAGE = 256, SEARCHED = 1024 };

static uint8_t lower(uint8_t ch)
{
    return ch >= 'A' && ch <= 'Z' ? (uint8_t)(ch | 0x20) : ch;
}

/* `word` is in lower case. */
static bool starts_with(const uint8_t *at, size_t length, const char *word)
{
    size_t n = strlen(word);
    if (length < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower(at[i]) != (uint8_t)word[i])
            return false;
    return true;
}

static bool is_blank(uint8_t ch)
{
    return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n';
}

static struct word trimmed(const uint8_t *at, size_t length, size_t most)
{
    while (length && is_blank(*at)) {
        at++;
        length--;
    }
    while (length && is_blank(at[length - 1]))
        length--;
    return (struct word){at, (uint32_t)(length < most ? length : most)};
}

static struct word find_title(const uint8_t *at, size_t length)
{
    size_t n = length < SEARCHED ? length : SEARCHED;
    for (size_t i = 0; i < n; i++) {
        if (at[i] != '<' || !starts_with(at + i, length - i, "<title"))
            continue;
        const uint8_t *open = memchr(at + i, '>', length - i);
        if (!open)
            break;
        size_t rest = length - (size_t)(open + 1 - at);
        const uint8_t *close = memchr(open + 1, '<', rest);
        return trimmed(open + 1, close ? (size_t)(close - open - 1) : rest, MAX_TITLE);
    }
    return (struct word){at, 0};
}

/* A page begins with a tag; a chunk's length may stand before it. */
static void read_page(const uint8_t *at, size_t length, struct said *out)
{
    const uint8_t *tag = memchr(at, '<', length < 16 ? length : 16);
    size_t n = tag ? length - (size_t)(tag - at) : 0;
    out->word[2] = out->word[3] = (struct word){at, 0};
    if (!n)
        return;
    out->word[2] = find_title(tag, n);
    out->word[3] = (struct word){tag, (uint32_t)(n < MAX_PAGE ? n : MAX_PAGE)};
}

static uint32_t number(struct word text)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < text.length && i < 10; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return UINT32_MAX;
        n = n * 10 + (unsigned)(text.at[i] - '0');
    }
    return text.length && n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void read_field(const uint8_t *line, size_t length, struct said *out)
{
    if (starts_with(line, length, "location:"))
        out->word[0] = trimmed(line + 9, length - 9, MAX_LOCATION);
    else if (starts_with(line, length, "server:"))
        out->word[1] = trimmed(line + 7, length - 7, MAX_SERVER);
    else if (starts_with(line, length, "content-length:"))
        out->body_length = number(trimmed(line + 15, length - 15, 16));
}

static enum parsed more(size_t length, struct said *out)
{
    out->length = (uint32_t)length + 1;
    return PARSED_MORE;
}

/* "HTTP/1.x nnn": PARSED_MORE while the bytes are too few to say no. */
static enum parsed read_status(const uint8_t *data, size_t length, struct said *out)
{
    static const char form[] = "HTTP/1.9 999";
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (i == length)
            return PARSED_MORE;
        if (form[i] == '9' ? data[i] < '0' || data[i] > '9' : data[i] != (uint8_t)form[i])
            return PARSED_NO;
    }
    out->status = (uint16_t)((data[9] - '0') * 100 + (data[10] - '0') * 10 + (data[11] - '0'));
    return PARSED_YES;
}

static bool is_html(const uint8_t *data, size_t length)
{
    size_t i = 0;
    while (i < length && i < 16 && is_blank(data[i]))
        i++;
    if (i + 1 >= length || data[i] != '<')
        return false;
    uint8_t ch = lower(data[i + 1]);
    return (ch >= 'a' && ch <= 'z') || ch == '!';
}

enum parsed http_response(const uint8_t *data, size_t length, struct said *out)
{
    memset(out, 0, sizeof *out);
    out->body_length = UINT32_MAX;
    for (unsigned i = 0; i < ANSWER_WORDS; i++)
        out->word[i].at = data;
    if (is_html(data, length)) {
        out->kind = TSCOPE_ANSWER_HTML;
        read_page(data, length, out);
        return PARSED_YES;
    }
    enum parsed status = read_status(data, length, out);
    if (status == PARSED_MORE)
        return more(length, out);
    if (status == PARSED_NO)
        return PARSED_NO;
    out->kind = TSCOPE_ANSWER_HTTP;
    for (const uint8_t *at = data, *end = data + length; at < end;) {   /* advances >= 1: a line */
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            break;
        size_t n = (size_t)(newline - at);
        if (n && at[n - 1] == '\r')
            n--;
        if (n == 0) {
            read_page(newline + 1, (size_t)(end - newline - 1), out);
            return PARSED_YES;
        }
        read_field(at, n, out);
        at = newline + 1;
    }
    return more(length, out);
}
