/* Answers to octets: pure/assembler.py, for those that are a matter of joining.
 *
 * That is: the content is bytes, below the size that is handed on by reference; no cookies, no stream,
 * no upgrade; a status code with content; and no field that frames, or that the server sets itself.
 * The reference looks at all others. */
#include "lane.h"

enum { CODE_MIN = 200, CODE_MAX = 599 };

bool jp_reserve(jp_output *output, size_t more)
{
    if (output->capacity - output->size >= more)
        return true;
    size_t capacity = output->capacity ? output->capacity : 4096;
    while (capacity - output->size < more)
        capacity *= 2;
    char *octets = PyMem_Realloc(output->octets, capacity);
    if (!octets) {
        PyErr_NoMemory();
        return false;
    }
    output->octets = octets;
    output->capacity = capacity;
    return true;
}

/* -- Pieces, for which room has been reserved -------------------------------------------------------- */

/* Each writes at a place and returns the one behind it.  A local place stays in a register; kept in
 * jp_output, it would have to be written and read again for each piece. */

static inline char *put(char *at, const void *octets, size_t size)
{
    memcpy(at, octets, size);
    return at + size;
}

#define PUT(at, text) put(at, text, sizeof(text) - 1)

static inline char *put_bytes(char *at, PyObject *bytes)
{
    return put(at, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

static inline char *put_number(char *at, size_t number)
{
    enum { DIGITS = 20 }; /* of the largest number */
    char digits[2 * DIGITS];
    size_t from = DIGITS;
    do
        digits[--from] = (char)('0' + number % 10);
    while (number /= 10);
    memcpy(at, digits + from, DIGITS); /* always so many, by two moves; what is too much is written over */
    return at + DIGITS - from;
}

/* -- Fields ------------------------------------------------------------------------------------------ */

/* The fields that frame, that the server sets itself, or that ask for another field. */
static const char *const reserved[] = {"content-type", "content-length", "transfer-encoding", "connection",
                                       "date", "server", "upgrade"};

static bool is_reserved(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strlen(reserved[i]) == size && PyOS_strnicmp(name, reserved[i], (Py_ssize_t)size) == 0)
            return true;
    return false;
}

/* A str that holds latin-1 alone, as the fields of a response do; not of a subclass, which may be formatted
 * otherwise. */
static inline bool is_latin1(PyObject *text)
{
    return PyUnicode_CheckExact(text) && PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND;
}

/* The lines of the fields that a handler has set; NULL when there are none. */
static bool lines_of(const jp_state *state, PyObject *response, PyObject **lines)
{
    PyObject *headers = *jp_slot(response, state->at.response._headers);
    *lines = NULL;
    if (headers == Py_None)
        return true;
    if (!headers || (PyObject *)Py_TYPE(headers) != state->headers_type)
        return false;
    *lines = *jp_slot(headers, state->at.headers.lines);
    return *lines && PyList_CheckExact(*lines);
}

/* Whether all lines may be sent as they are; adds their size. */
static bool are_plain(PyObject *lines, size_t *size)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(lines); i++) {
        PyObject *line = PyList_GET_ITEM(lines, i);
        if (!PyTuple_CheckExact(line) || PyTuple_GET_SIZE(line) != 2)
            return false;
        PyObject *name = PyTuple_GET_ITEM(line, 0), *value = PyTuple_GET_ITEM(line, 1);
        if (!is_latin1(name) || !is_latin1(value) ||
            is_reserved((const char *)PyUnicode_1BYTE_DATA(name), (size_t)PyUnicode_GET_LENGTH(name)))
            return false;
        *size += (size_t)PyUnicode_GET_LENGTH(name) + (size_t)PyUnicode_GET_LENGTH(value) + 4;
    }
    return true;
}

static char *put_text(char *at, PyObject *text)
{
    return put(at, PyUnicode_1BYTE_DATA(text), (size_t)PyUnicode_GET_LENGTH(text));
}

static char *put_lines(char *at, PyObject *lines)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(lines); i++) {
        PyObject *line = PyList_GET_ITEM(lines, i);
        at = PUT(at, "\r\n");
        at = put_text(at, PyTuple_GET_ITEM(line, 0));
        at = PUT(at, ": ");
        at = put_text(at, PyTuple_GET_ITEM(line, 1));
    }
    return at;
}

/* -- Answers ----------------------------------------------------------------------------------------- */

/* The status line of a code that has content; NULL of any other. */
static PyObject *status_line(const jp_state *state, PyObject *code)
{
    if (code == state->ok)
        return PyTuple_GET_ITEM(state->status_lines, 0);
    if (!code || !PyLong_CheckExact(code))
        return NULL;
    int overflow;
    long number = PyLong_AsLongAndOverflow(code, &overflow);
    if (overflow || number < CODE_MIN || number > CODE_MAX || number == 204 || number == 205 || number == 304)
        return NULL;
    return PyTuple_GET_ITEM(state->status_lines, number - CODE_MIN);
}

/* What is the same in nearly all answers is copied in one piece, by moves of a size that the compiler
 * knows. */
static char *put_start(const jp_state *state, char *at, PyObject *status, PyObject *content_type)
{
    if (content_type == state->text_type && status == PyTuple_GET_ITEM(state->status_lines, 0))
        return PUT(at, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    at = put_bytes(at, status);
    if (content_type != Py_None) {
        at = PUT(at, "\r\nContent-Type: ");
        at = put_bytes(at, content_type);
    }
    return PUT(at, "\r\nContent-Length: ");
}

static char *put_end(char *at, PyObject *date)
{
    enum { FIXDATE = 29 }; /* octets of an IMF-fixdate */
    at = PUT(at, "\r\nDate: ");
    at = PyBytes_GET_SIZE(date) == FIXDATE ? put(at, PyBytes_AS_STRING(date), FIXDATE) : put_bytes(at, date);
    return PUT(at, "\r\n\r\n");
}

jp_appended jp_append_plain(const jp_state *state, jp_output *output, PyObject *response, PyObject *date)
{
#define GET(name) (*jp_slot(response, state->at.response.name))
    PyObject *status = status_line(state, GET(_code));
    PyObject *body = GET(_body), *content_type = GET(_content_type), *lines;
    if (!status || !body || !PyBytes_CheckExact(body) || PyBytes_GET_SIZE(body) >= state->large_octets ||
        GET(_stream) != Py_None || GET(_cookies) != Py_None || GET(_upgrade) != Py_None || !content_type ||
        (content_type != Py_None && !PyBytes_CheckExact(content_type)) || !lines_of(state, response, &lines))
        return JP_NOT_PLAIN;
#undef GET
    size_t size = 192 + (size_t)PyBytes_GET_SIZE(status) + (size_t)PyBytes_GET_SIZE(body) +
                  (size_t)PyBytes_GET_SIZE(date);
    if (content_type != Py_None)
        size += (size_t)PyBytes_GET_SIZE(content_type);
    if (lines && !are_plain(lines, &size))
        return JP_NOT_PLAIN;
    if (!jp_reserve(output, size))
        return JP_FAILED;
    char *at = put_start(state, output->octets + output->size, status, content_type);
    at = put_number(at, (size_t)PyBytes_GET_SIZE(body));
    if (lines)
        at = put_lines(at, lines);
    at = put_bytes(put_end(at, date), body);
    output->size = (size_t)(at - output->octets);
    return JP_APPENDED;
}

/* -- assemble() -------------------------------------------------------------------------------------- */

/* Whether an answer to this request may be appended here. */
static bool is_for_us(const jp_state *state, PyObject *request)
{
    if (*jp_slot(request, state->at.request.persistent) != Py_True)
        return false;
    PyObject *head = PyObject_TypeCheck(request, state->fast_request)
                         ? jp_head_of(state, request) : *jp_slot(request, state->at.request.head);
    if (!head || (PyObject *)Py_TYPE(head) != state->head_type ||
        *jp_slot(head, state->at.head.minor) != state->one)
        return false;
    PyObject *method = *jp_slot(head, state->at.head.method);
    return PyUnicode_CheckExact(method) && PyUnicode_CompareWithASCIIString(method, "HEAD") != 0 &&
           PyUnicode_CompareWithASCIIString(method, "CONNECT") != 0;
}

/* Add what is in output to a list of buffers. */
static bool move_to(PyObject *buffers, jp_output *output)
{
    if (!output->size)
        return true;
    PyObject *buffer = PyBytes_FromStringAndSize(output->octets, (Py_ssize_t)output->size);
    output->size = 0;
    bool moved = buffer && PyList_Append(buffers, buffer) == 0;
    Py_XDECREF(buffer);
    return moved;
}

/* Add the buffers of one answer as the reference makes them. */
static bool add_careful(const jp_state *state, PyObject *buffers, PyObject *request, PyObject *date)
{
    PyObject *batch = PyList_New(1);
    if (!batch)
        return false;
    PyList_SET_ITEM(batch, 0, Py_NewRef(request));
    PyObject *args[] = {batch, date};
    PyObject *made = PyObject_Vectorcall(state->assemble, args, 2, NULL);
    Py_DECREF(batch);
    bool added = made && PyList_SetSlice(buffers, PyList_GET_SIZE(buffers), PyList_GET_SIZE(buffers), made) == 0;
    Py_XDECREF(made);
    return added;
}

static bool add_answers(const jp_state *state, PyObject *buffers, PyObject *requests, PyObject *date)
{
    jp_output output = {NULL, 0, 0};
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(requests); i++) {
        PyObject *request = PySequence_Fast_GET_ITEM(requests, i);
        if (!PyObject_TypeCheck(request, (PyTypeObject *)state->request_type)) {
            PyErr_SetString(PyExc_TypeError, "assemble() takes requests");
            good = false;
            break;
        }
        PyObject *response = *jp_slot(request, state->at.request.response);
        jp_appended appended = JP_NOT_PLAIN;
        if (response && ((PyObject *)Py_TYPE(response) == state->response_type ||
                         Py_TYPE(response) == state->fast_response) && is_for_us(state, request))
            appended = jp_append_plain(state, &output, response, date);
        if (PyErr_Occurred())
            good = false;
        else if (appended == JP_NOT_PLAIN)
            good = move_to(buffers, &output) && add_careful(state, buffers, request, date);
    }
    good = good && move_to(buffers, &output);
    PyMem_Free(output.octets);
    return good;
}

PyObject *jp_assemble(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    const jp_state *state = PyModule_GetState(module);
    if (nargs != 2 || !PyBytes_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "assemble() takes requests and a date, which is bytes");
        return NULL;
    }
    PyObject *requests = PySequence_Fast(args[0], "assemble() takes a sequence of requests");
    PyObject *buffers = requests ? PyList_New(0) : NULL;
    if (buffers && !add_answers(state, buffers, requests, args[1]))
        Py_CLEAR(buffers);
    Py_XDECREF(requests);
    return buffers;
}
