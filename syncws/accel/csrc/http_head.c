/* The head of an HTTP message, taken apart in one pass if all of it is there and nothing is wrong
 * with it, as is usual. For anything else the answer is None, and the parser in Python finds out
 * what is missing or wrong: so there is one place that says what is. */

#include "http_head.h"

/* Header names that nearly every handshake has, as most programs spell them: these are not made
 * anew for each connection, which would keep them for as long as it has its request. */
static const char *const COMMON_NAMES[COMMON_NAME_COUNT] = {
    "Host",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Accept",
    "Origin",
    "User-Agent",
    "Cookie",
    "Authorization",
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Cache-Control",
    "Pragma",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "Date",
    "Server",
};

/* Whether a character may be in a token (RFC 9110 5.6.2). */
static inline int
is_token_character(uint8_t c)
{
    uint8_t lower = c | 0x20;
    if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9')) {
        return 1;
    }
    switch (c) {
    case '!': case '#': case '$': case '%': case '&': case '\'': case '*': case '+':
    case '-': case '.': case '^': case '_': case '`': case '|': case '~':
        return 1;
    default:
        return 0;
    }
}

/* Whether a character may be in a header's value (RFC 9110 5.5). */
static inline int
is_value_character(uint8_t c)
{
    return (c >= ' ' && c != 0x7F) || c == '\t';
}

/* Set *name and *key to new references: a name, and the same in lower case. */
static int
make_name(State *state, const uint8_t *text, Py_ssize_t size, PyObject **name, PyObject **key)
{
    for (int i = 0; i < COMMON_NAME_COUNT; i++) {
        if (PyUnicode_GET_LENGTH(state->header_names[i]) == size &&
            memcmp(COMMON_NAMES[i], text, (size_t)size) == 0) {
            *name = Py_NewRef(state->header_names[i]);
            *key = Py_NewRef(state->header_keys[i]);
            return 0;
        }
    }
    *key = NULL;
    *name = PyUnicode_New(size, 127);
    if (*name == NULL || (*key = PyUnicode_New(size, 127)) == NULL) {
        Py_CLEAR(*name);
        return -1;
    }
    uint8_t *spelled = PyUnicode_1BYTE_DATA(*name), *lower = PyUnicode_1BYTE_DATA(*key);
    for (Py_ssize_t i = 0; i < size; i++) {
        spelled[i] = text[i];
        lower[i] = text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i];
    }
    return 0;
}

/* Add a value to those by name: a list where there are several. */
static int
index_value(PyObject *values, PyObject *key, PyObject *value)
{
    PyObject *found = PyDict_GetItemWithError(values, key);
    if (found == NULL) {
        return PyErr_Occurred() ? -1 : PyDict_SetItem(values, key, value);
    }
    if (PyList_CheckExact(found)) {
        return PyList_Append(found, value);
    }
    PyObject *both = Py_BuildValue("[OO]", found, value);
    int result = both == NULL ? -1 : PyDict_SetItem(values, key, both);
    Py_XDECREF(both);
    return result;
}

/* Add a header line, which ends before its CRLF. Return 1, 0 if it isn't one, or -1. */
static int
add_line(State *state, const uint8_t *line, const uint8_t *end, PyObject *fields, PyObject *values)
{
    const uint8_t *colon = line;
    while (colon < end && is_token_character(*colon)) {
        colon++;
    }
    if (colon == line || colon == end || *colon != ':') {
        return 0;
    }
    for (const uint8_t *at = colon + 1; at < end; at++) {
        if (!is_value_character(*at)) {
            return 0;
        }
    }
    const uint8_t *start = colon + 1;
    while (start < end && (*start == ' ' || *start == '\t')) {
        start++;
    }
    while (end > start && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    PyObject *name, *key;
    if (make_name(state, line, colon - line, &name, &key) < 0) {
        return -1;
    }
    PyObject *value = PyUnicode_DecodeLatin1((const char *)start, end - start, NULL);
    PyObject *field = value == NULL ? NULL : PyTuple_Pack(2, name, value);
    int failed = field == NULL || PyList_Append(fields, field) < 0 ||
                 index_value(values, key, value) < 0;
    Py_XDECREF(field);
    Py_XDECREF(value);
    Py_DECREF(name);
    Py_DECREF(key);
    return failed ? -1 : 1;
}

/* The end of the line that begins here, before its CRLF; NULL if there is none. */
static const uint8_t *
find_end(const uint8_t *line, const uint8_t *end)
{
    const uint8_t *newline = memchr(line, '\n', (size_t)(end - line));
    return newline == NULL || newline == line || newline[-1] != '\r' ? NULL : newline - 1;
}

static PyObject *
split_head(PyObject *module, PyObject *args)
{
    PyObject *data;
    Py_ssize_t limit, max_fields;
    if (!PyArg_ParseTuple(args, "Snn:split_head", &data, &limit, &max_fields)) {
        return NULL;
    }
    State *state = PyModule_GetState(module);
    const uint8_t *first = (const uint8_t *)PyBytes_AS_STRING(data);
    const uint8_t *end = first + PyBytes_GET_SIZE(data);
    const uint8_t *line_end = find_end(first, end);
    if (line_end == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *start_line = PyUnicode_DecodeLatin1((const char *)first, line_end - first, NULL);
    PyObject *fields = PyList_New(0), *values = PyDict_New(), *result = NULL;
    int state_of_line = start_line == NULL || fields == NULL || values == NULL ? -1 : 1;
    const uint8_t *line = line_end + 2;
    while (state_of_line > 0) {
        line_end = find_end(line, end);
        if (line_end == line) { /* the empty line */
            if (line - 2 - first > limit) {
                state_of_line = 0;
            }
            break;
        }
        if (line_end == NULL || PyList_GET_SIZE(fields) >= max_fields) {
            state_of_line = 0;
            break;
        }
        state_of_line = add_line(state, line, line_end, fields, values);
        line = line_end + 2;
    }
    if (state_of_line > 0) {
        result = Py_BuildValue("(OOOn)", start_line, fields, values, line + 2 - first);
    }
    Py_XDECREF(start_line);
    Py_XDECREF(fields);
    Py_XDECREF(values);
    return state_of_line == 0 ? Py_NewRef(Py_None) : result;
}

static int
http_head_init(State *state)
{
    for (int i = 0; i < COMMON_NAME_COUNT; i++) {
        state->header_names[i] = PyUnicode_InternFromString(COMMON_NAMES[i]);
        if (state->header_names[i] == NULL) {
            return -1;
        }
        state->header_keys[i] = PyObject_CallMethod(state->header_names[i], "lower", NULL);
        if (state->header_keys[i] == NULL) {
            return -1;
        }
        PyUnicode_InternInPlace(&state->header_keys[i]);
    }
    return 0;
}

static void
http_head_clear(State *state)
{
    for (int i = 0; i < COMMON_NAME_COUNT; i++) {
        Py_CLEAR(state->header_names[i]);
        Py_CLEAR(state->header_keys[i]);
    }
}
