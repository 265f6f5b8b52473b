/* A response whose body is an event stream, read as its bytes come, however they are cut.
 *
 * Whoever includes this says what happens with an event's data (`deliver`) and with what must not be (`fail`).
 */

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { LINE = 192, ID = 64 };
enum stage { ENDED, HEAD, BODY };

struct stream {
    enum stage stage;
    bool chunked, sized; /* sized: a chunk's size has been read */
    int64_t left;        /* of that chunk; until it is sized, its size so far; -1: the line end after it */
    uint16_t length;     /* of the beginning of a line, if one has come in pieces */
    char id[ID];
    char line[LINE];
};

static void deliver(struct stream *s, const char *data, size_t size, int64_t now);
static _Noreturn void fail(const char *why);

static void head_line(struct stream *s, const char *line, size_t length) {
    if (!length) {
        s->stage = BODY;
    } else if (!strncmp(line, "HTTP/", 5)) {
        if (length < 12 || strncmp(line + 9, "200", 3)) fail("a response is not 200");
    } else if (!strncasecmp(line, "transfer-encoding:", 18)) {
        s->chunked = true;
    }
}

static void body_line(struct stream *s, const char *line, size_t length, int64_t now) {
    const char *value = memchr(line, ':', length < 6 ? length : 6);
    if (!value) return;
    size_t name = value++ - line;
    if (value < line + length && *value == ' ') value++;
    size_t rest = line + length - value;
    if (name == 4 && !memcmp(line, "data", 4)) {
        if (rest && *value == '"') value++, rest--; /* some servers have JSON only */
        deliver(s, value, rest, now);
    } else if (name == 2 && !memcmp(line, "id", 2) && rest < ID) {
        memcpy(s->id, value, rest);
        s->id[rest] = 0;
    }
}

/* Take whole lines, and of the last what there is. Return how much was taken: the body begins a stage. */
static size_t lines(struct stream *s, char *data, size_t size, int64_t now) {
    enum stage stage = s->stage;
    size_t taken = 0;
    while (taken < size && s->stage == stage) {
        char *line = data + taken, *end = memchr(line, '\n', size - taken);
        size_t length = end ? (size_t)(end - line) : size - taken;
        taken += length + !!end;
        if (!end || s->length) {
            size_t room = LINE - s->length, kept = length < room ? length : room;
            memcpy(s->line + s->length, line, kept);
            s->length += kept;
            if (!end) break;
            line = s->line, length = s->length, s->length = 0;
        }
        if (length && line[length - 1] == '\r') length--;
        if (stage == HEAD) head_line(s, line, length);
        else body_line(s, line, length, now);
    }
    return taken;
}

static void chunks(struct stream *s, char *data, size_t size, int64_t now) {
    while (size) {
        if (s->sized) {
            size_t part = (int64_t)size < s->left ? size : (size_t)s->left;
            lines(s, data, part, now);
            data += part, size -= part, s->left -= part;
            if (!s->left) s->sized = false, s->left = -1; /* the line end after a chunk */
            continue;
        }
        char byte = *data++;
        size--;
        if (byte == '\n') {
            if (s->left < 0) s->left = 0;
            else s->sized = s->left > 0; /* a last chunk is followed by the end */
        } else if (isxdigit((unsigned char)byte)) {
            s->left = s->left * 16 + (isdigit((unsigned char)byte) ? byte - '0' : (byte | 32) - 'a' + 10);
        } else if (byte != '\r') {
            fail("a chunk has no size");
        }
    }
}

/* Take what has come, and return whether some of it is of the body. */
static bool feed(struct stream *s, char *data, size_t size, int64_t now) {
    while (s->stage == HEAD && size) {
        size_t taken = lines(s, data, size, now);
        data += taken, size -= taken;
    }
    if (!size) return false;
    if (s->chunked) chunks(s, data, size, now);
    else lines(s, data, size, now);
    return true;
}

/* Begin another response, with the id of this one's last event. */
static void reset(struct stream *s) {
    s->stage = ENDED, s->chunked = s->sized = false, s->left = 0, s->length = 0;
}
