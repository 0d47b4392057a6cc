/* Checking text that comes in pieces. */

#ifndef SYNCWS_UTF8_H
#define SYNCWS_UTF8_H

#include "speedups.h"

/* Check more of a text. Return 0; or -1, with what is wrong and where. */
static int utf8_feed(Utf8 *text, const uint8_t *data, size_t size, int final, const char **reason,
                     uint64_t *position);

#endif
