/* UTF-8, checked as it comes. However a text is split, the first byte that is wrong is found, with
 * the reason and the position that the interpreter's own decoder gives. ASCII is skipped eight
 * bytes at a time. */

#include "utf8.h"

#include "masking.h"

/* The reasons that the interpreter's own decoder gives. */
static const char *const BAD_START = "invalid start byte";
static const char *const BAD_CONTINUATION = "invalid continuation byte";
static const char *const BAD_END = "unexpected end of data";

/* Check one character. Return its size; 0 if it is cut off; -1 if it is wrong. */
static inline int
utf8_character(const uint8_t *at, size_t size, const char **reason)
{
    uint8_t lead = at[0], low = 0x80, high = 0xBF;
    int wanted;
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4) {
        *reason = BAD_START;
        return -1;
    }
    if (lead < 0xE0) {
        wanted = 2;
    }
    else if (lead < 0xF0) {
        wanted = 3;
        if (lead == 0xE0) {
            low = 0xA0;
        }
        else if (lead == 0xED) {
            high = 0x9F; /* no surrogates */
        }
    }
    else {
        wanted = 4;
        if (lead == 0xF0) {
            low = 0x90;
        }
        else if (lead == 0xF4) {
            high = 0x8F;
        }
    }
    for (int i = 1; i < wanted; i++) {
        if ((size_t)i >= size) {
            return 0;
        }
        if (at[i] < low || at[i] > high) {
            *reason = BAD_CONTINUATION;
            return -1;
        }
        low = 0x80;
        high = 0xBF;
    }
    return wanted;
}

/* Check characters up to the first that is cut off or wrong. Return how many bytes come before
 * it. */
static size_t
utf8_scan(const uint8_t *data, size_t size, const char **reason)
{
    size_t at = 0;
    while (at < size) {
        while (at + 8 <= size) {
            uint64_t word;
            memcpy(&word, data + at, 8);
            if (word & NOT_ASCII) {
                break;
            }
            at += 8;
        }
        if (at == size) {
            break;
        }
        int taken = utf8_character(data + at, size - at, reason);
        if (taken <= 0) {
            break;
        }
        at += (size_t)taken;
    }
    return at;
}

static int
utf8_feed(Utf8 *text, const uint8_t *data, size_t size, int final, const char **reason,
          uint64_t *position)
{
    *reason = NULL;
    uint64_t start = text->size - (uint64_t)text->count;
    text->size += size;
    size_t at = 0;
    while (text->count && at < size) {
        text->pending[text->count++] = data[at++];
        int taken = utf8_character(text->pending, (size_t)text->count, reason);
        if (taken < 0) {
            *position = start;
            return -1;
        }
        if (taken > 0) {
            start += (uint64_t)taken;
            text->count = 0;
        }
    }
    if (!text->count) {
        size_t good = utf8_scan(data + at, size - at, reason);
        start += good;
        at += good;
        if (*reason != NULL) {
            *position = start;
            return -1;
        }
        text->count = (int)(size - at);
        memcpy(text->pending, data + at, size - at);
    }
    if (final && text->count) {
        *reason = BAD_END;
        *position = start;
        return -1;
    }
    return 0;
}
