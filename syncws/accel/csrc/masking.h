/* Masking payloads (RFC 6455 5.3), and keys to mask with. */

#ifndef SYNCWS_MASKING_H
#define SYNCWS_MASKING_H

#include "speedups.h"

#define NOT_ASCII 0x8080808080808080ULL

/* Return the key twice, rotated so that it begins with the byte for this offset. */
static inline uint64_t
turned_key(const uint8_t *key, size_t offset)
{
    uint8_t turned[8];
    for (int i = 0; i < 8; i++) {
        turned[i] = key[(offset + (size_t)i) & 3];
    }
    uint64_t word;
    memcpy(&word, turned, 8);
    return word;
}

/* Copy with the mask applied, or mask in place if both are the same. Return all bytes that were
 * written, or-ed: they are ASCII if the result's bytes are. */
static uint64_t mask_copy(uint8_t *to, const uint8_t *from, size_t size, uint64_t key);

/* Return all bytes, or-ed. */
static uint64_t all_bytes(const uint8_t *data, size_t size);

/* Make sure that there is a key to draw. Other threads and signal handlers may run meanwhile. */
static int fill_keys(State *state);

/* Draw a key that nobody can predict. */
static int draw_key(State *state, uint8_t *key);

/* Functions of the module. */
static PyObject *apply_mask(PyObject *module, PyObject *args);
static PyObject *forget_masking_keys(PyObject *module, PyObject *ignored);

#endif
