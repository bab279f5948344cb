/* The fast lane: the received octets of an idle connection in, the octets of the answers out.
 *
 * In one call it scans heads, routes each, calls its handler and appends its answer, as long as all is
 * plain: HTTP/1.1, one Host, no field that governs but a Content-Length whose content is there; a route
 * that takes the method; a Response after which the connection goes on.  At the first request that is
 * not, it stops, and the general path (connection.py, by way of protocol.py) takes it from there.  A
 * handler that was called is never called again: its request is handed over together with what it has
 * answered or raised.
 *
 * How long content is, pure/framing.py decides here too: it is asked about each value of Content-Length
 * the first time that it is seen, and its Framing is remembered. */
#include "lane.h"

#include <time.h>

enum {
    HEADS = 64,       /* that are found in one call of the scanner */
    PATHS = 64,       /* whose targets are remembered; a power of two */
    PATH_OCTETS = 52, /* of those paths, at most */
    LENGTHS = 64,     /* values of Content-Length that are remembered; a power of two */
    LENGTH_DIGITS = 12, /* of those values, at most */
    OUTPUT_KEPT = 256 * 1024
};

/* A value of Content-Length, and the framing that follows. */
typedef struct {
    uint8_t size;
    char value[LENGTH_DIGITS];
    uint32_t length;
    PyObject *framing; /* NULL where nothing is remembered */
} known_length;

/* A path that a route without placeholders takes, and its target. */
typedef struct {
    uint8_t size, method;
    char path[PATH_OCTETS];
    PyObject *target; /* NULL where nothing is remembered */
} known_path;

typedef struct {
    PyObject_HEAD
    jp_state *state;
    PyObject *app, *runner, *make_date;
    PyObject *pristine, *context; /* see enter_context() */
    PyObject *tasks; /* the set of those that wait; see is_busy() */
    /* What was learned of the application; learned is false once it has changed. */
    bool learned;
    bool busy; /* also while Python code is asked that is no handler */
    bool has_vars; /* whether vars_of() may be used */
    PyObject *request_type, *limits;
    jp_routes *routes;
    jp_bounds bounds;
    size_t output_max, tasks_max;
    size_t requests_max; /* in one call: what is answered must leave before its client is gone */
    enum jp_level level;
    PyObject *date;
    time_t second;
    PyObject *spare; /* a request to use again, or NULL */
    PyObject *spare_target; /* one that is of a placeholder, and in the hands of nobody */
    jp_output output;
    jp_driver driver;
    jp_meter *meter; /* NULL where nothing is counted */
    known_length lengths[LENGTHS];
    known_path paths[PATHS];
} Lane;

/* How serving one request, or all of them, came to an end.  The numbers are japronto.interfaces.Outcome. */
typedef enum {
    FAILED = -2,    /* an exception is set that goes to the caller */
    SERVED = -1,    /* the answer is in the output */
    LEFT = 0,       /* nothing has begun; the general path takes it */
    ANSWERED = 1,   /* the handler has returned *result, which is not for the lane */
    RAISED = 2,     /* the handler has raised *result */
    WAITS = 3,      /* its coroutine waits; *result is (coroutine, what it waits for) */
    RETURNED = 4,   /* its coroutine has returned *result, which is not for the lane */
    BROKE = 5       /* its coroutine has raised *result */
} outcome;

/* -- What is remembered of the application ----------------------------------------------------------- */

static void forget(Lane *lane)
{
    lane->learned = false;
    Py_CLEAR(lane->request_type);
    Py_CLEAR(lane->limits);
    Py_CLEAR(lane->spare);
    Py_CLEAR(lane->spare_target);
    for (size_t i = 0; i < PATHS; i++)
        Py_CLEAR(lane->paths[i].target);
    jp_routes *routes = lane->routes;
    lane->routes = NULL;
    jp_free_routes(routes);
}

static bool get_size(PyObject *limits, const char *name, size_t *size)
{
    PyObject *number = PyObject_GetAttrString(limits, name);
    if (!number)
        return false;
    *size = PyLong_AsSize_t(number);
    if (*size == (size_t)-1 && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        *size = UINT32_MAX;
    }
    Py_DECREF(number);
    return !PyErr_Occurred();
}

static bool learn_limits(Lane *lane)
{
    size_t line, field, section, fields;
    if (!get_size(lane->limits, "request_line_bytes", &line) ||
        !get_size(lane->limits, "field_line_bytes", &field) ||
        !get_size(lane->limits, "field_section_bytes", &section) ||
        !get_size(lane->limits, "fields", &fields) ||
        !get_size(lane->limits, "unsent_bytes", &lane->output_max) ||
        !get_size(lane->limits, "pipelined_requests", &lane->requests_max) ||
        !get_size(lane->limits, "requests_in_flight", &lane->tasks_max))
        return false;
    size_t head = line < field ? line : field;
    head = head < section ? head : section;
    lane->bounds.head_bytes = head < UINT32_MAX ? (uint32_t)head : UINT32_MAX;
    lane->bounds.fields = fields < UINT32_MAX ? (uint32_t)fields : UINT32_MAX;
    return true;
}

static bool ask_app(Lane *lane)
{
    lane->request_type = PyObject_GetAttrString(lane->app, "request_type");
    lane->limits = lane->request_type ? PyObject_GetAttrString(lane->app, "limits") : NULL;
    PyObject *routes = lane->limits ? PyObject_CallMethod(lane->app, "laid_out", NULL) : NULL;
    if (routes && PyList_Check(routes))
        lane->routes = jp_make_routes(lane->state, routes);
    else if (routes)
        PyErr_SetString(PyExc_TypeError, "the routes of the application must be a list");
    Py_XDECREF(routes);
    if (!lane->routes || !learn_limits(lane))
        return false;
    if (PyType_Check(lane->request_type) &&
        PyType_IsSubtype((PyTypeObject *)lane->request_type, lane->state->fast_request))
        return true;
    PyErr_SetString(PyExc_TypeError, "the requests of the application are not of this backend");
    return false;
}

/* Ask the application what it is.  Should it change while it is asked, it is asked again the next time. */
static bool learn(Lane *lane)
{
    forget(lane);
    lane->learned = true;
    bool good = ask_app(lane);
    lane->learned = lane->learned && good;
    return good;
}

static bool refresh_date(Lane *lane)
{
    /* The clock of time.time(), which the worker asks.  That of time() lags some milliseconds behind it, and
     * a client would see Date go back. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (lane->date && now.tv_sec == lane->second)
        return true;
    PyObject *date = PyObject_CallNoArgs(lane->make_date);
    if (!date || !PyBytes_CheckExact(date)) {
        Py_XDECREF(date);
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a date must be bytes");
        return false;
    }
    Py_XSETREF(lane->date, date);
    lane->second = now.tv_sec;
    return true;
}

/* Forget an exception, unless it is one that nobody may take: an interrupt, say. */
static bool clear_exception(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return false;
    PyErr_Clear();
    return true;
}

/* -- Contexts ---------------------------------------------------------------------------------------- */

/* All handlers that are not async run in one context, which is thrown away as soon as one of them has set
 * a variable: what a handler sets must not be seen by the next, which may serve another client.  See
 * tasks.Runner.call. */

/* What a context holds: a mapping that never changes; a context in which a variable is set gets another.
 *
 * It is not in the API, so this is used only where it was seen that it is there (has_vars()).  To look at it
 * is one comparison; to compare two contexts is a call that looks up their types and their length first. */
static PyObject *vars_of(PyObject *context)
{
    struct context { /* Python/context.c, from 3.7 on */
        PyObject_HEAD
        PyObject *previous;
        PyObject *vars;
    };
    return ((struct context *)context)->vars;
}

/* Whether vars_of() gives what it says. */
static bool has_vars(PyObject *pristine, PyObject *copy)
{
    if (Py_TYPE(pristine)->tp_basicsize < (Py_ssize_t)(sizeof(PyObject) + 2 * sizeof(PyObject *)))
        return false;
    PyObject *vars = vars_of(pristine);
    return PY_VERSION_HEX < 0x030F0000 && vars && vars == vars_of(copy) &&
           strcmp(Py_TYPE(vars)->tp_name, "hamt") == 0;
}

static bool enter_context(Lane *lane)
{
    if (!lane->context) {
        lane->context = PyContext_Copy(lane->pristine);
        lane->has_vars = lane->context && has_vars(lane->pristine, lane->context);
    }
    return lane->context && PyContext_Enter(lane->context) == 0;
}

/* Keeps the exception that is set, unless there is a worse one. */
static bool leave_context(Lane *lane)
{
    if (!lane->context)
        return false; /* clean_context() has failed, and said why */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyContext_Exit(lane->context) < 0) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return false;
    }
    PyErr_Restore(type, value, traceback);
    return true;
}

/* Have a clean context again; called after each handler, with whatever exception it has raised. */
static bool clean_context(Lane *lane)
{
    if (lane->has_vars && vars_of(lane->context) == vars_of(lane->pristine))
        return true;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int clean = PyObject_RichCompareBool(lane->context, lane->pristine, Py_EQ);
    bool good = clean >= 0 || clear_exception(); /* There are values that cannot be compared. */
    if (clean <= 0) {
        bool left = leave_context(lane);
        Py_CLEAR(lane->context);
        good = good && left && enter_context(lane);
    }
    if (good) {
        PyErr_Restore(type, value, traceback);
    } else {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    }
    return good;
}

/* -- Whether a connection is idle -------------------------------------------------------------------- */

#define OF(class, object, name) (*jp_slot(object, state->at.class.name))

/* Whether nothing stands between the octets and the lane. */
static bool is_idle(const Lane *lane, PyObject *connection)
{
    const jp_state *state = lane->state;
    PyObject *parser = OF(connection, connection, _parser), *queue = OF(connection, connection, queue);
    if (OF(connection, connection, phase) != state->open || !queue || Py_SIZE(queue) != 0 ||
        OF(connection, connection, _draining) != Py_False || OF(connection, connection, blocked) != Py_False ||
        OF(connection, connection, eof) != Py_False ||
        OF(connection, connection, limits) != lane->limits)
        return false;
    if (!parser || (PyObject *)Py_TYPE(parser) != state->parser_type)
        return false;
    PyObject *buffer = OF(parser, parser, _buffer);
    return OF(parser, parser, _mode) == state->head_mode && buffer && PyBytes_CheckExact(buffer) &&
           PyBytes_GET_SIZE(buffer) == 0 && OF(parser, parser, more) == Py_False;
}

/* Whether so many requests wait that no handler may be called; protocol.py answers then.  One call of the
 * lane adds one at most, since it stops at the first that waits. */
static bool is_busy(const Lane *lane)
{
    return (size_t)PySet_GET_SIZE(lane->tasks) >= lane->tasks_max;
}

/* Whether the connection still takes answers as they come: a handler may have changed that. */
static bool goes_on(const Lane *lane, PyObject *connection)
{
    const jp_state *state = lane->state;
    return OF(connection, connection, phase) == state->open &&
           OF(connection, connection, _draining) == Py_False &&
           OF(connection, connection, blocked) == Py_False &&
           OF(connection, connection, eof) == Py_False &&
           OF(connection, connection, late) == state->no_octets;
}

/* Add to a number in a slot. */
static bool add(PyObject *object, Py_ssize_t offset, size_t more)
{
    PyObject *number = *jp_slot(object, offset);
    size_t before = number ? PyLong_AsSize_t(number) : 0;
    if (!number)
        PyErr_SetString(PyExc_AttributeError, "there is no number to add to");
    PyObject *sum = PyErr_Occurred() ? NULL : PyLong_FromSize_t(before + more);
    if (!sum)
        return false;
    jp_put(object, offset, sum);
    return true;
}

/* Count the heads and the octets of content, so that the time-outs see that something has happened. */
static bool count(const jp_state *state, PyObject *connection, size_t served, size_t content)
{
    return add(connection, state->at.connection.heads, served) &&
           (!content || add(connection, state->at.connection.received, content));
}

/* -- Content ----------------------------------------------------------------------------------------- */

/* Whether a line begins with a name, which is in lower case and has no octet without 0x20.  The names of a head
 * that was scanned are tokens, so no other octet becomes one of these by that. */
static inline bool begins_with(const uint8_t *line, const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((line[i] | 0x20) != (uint8_t)name[i])
            return false;
    return true;
}

/* Find the one Content-Length line of a head, and its value without OWS; false if there are several. */
static bool find_length(const uint8_t *buffer, const jp_head *head, const uint8_t **value, size_t *size)
{
    static const char name[] = "content-length:";
    const size_t name_size = sizeof name - 1;
    const uint8_t *at = buffer + head->section, *end = buffer + head->section_end;
    *size = 0;
    bool seen = false;
    while ((size_t)(end - at) > name_size) {
        const uint8_t *line = at;
        at = memchr(line + 1, '\n', (size_t)(end - line - 1));
        if (!at)
            return seen;
        if ((size_t)(at - ++line) <= name_size || !begins_with(line, name, name_size))
            continue;
        if (seen)
            return false;
        seen = true;
        const uint8_t *from = line + name_size, *to = at - 1; /* its CR */
        while (from < to && (*from == ' ' || *from == '\t'))
            from++;
        while (from < to && (to[-1] == ' ' || to[-1] == '\t'))
            to--;
        *value = from;
        *size = (size_t)(to - from);
    }
    return seen;
}

/* Ask the reference how the message of a request is framed, and remember that. */
static bool ask(Lane *lane, PyObject *request, const jp_head *spans, known_length *known)
{
    const jp_state *state = lane->state;
    PyObject *head = jp_head_of(state, request);
    PyObject *framing = head ? PyObject_CallFunction(state->frame, "Oi", head, (int)spans->seen) : NULL;
    if (!framing)
        return false;
    known->size = 0;
    Py_CLEAR(known->framing);
    /* Framing(length, persistent, expect_continue, upgrade), or a Violation, which is shorter. */
    if (PyTuple_Check(framing) && PyTuple_GET_SIZE(framing) == 4 && PyLong_Check(PyTuple_GET_ITEM(framing, 0)) &&
        PyTuple_GET_ITEM(framing, 1) == Py_True && PyTuple_GET_ITEM(framing, 2) == Py_False &&
        PyTuple_GET_ITEM(framing, 3) == Py_False) {
        long length = PyLong_AsLong(PyTuple_GET_ITEM(framing, 0));
        if (length >= 0 && (unsigned long)length <= UINT32_MAX) {
            known->length = (uint32_t)length;
            known->framing = Py_NewRef(framing);
        }
        PyErr_Clear();
    }
    Py_DECREF(framing);
    return true;
}

/* What is known of a value of Content-Length; NULL without an error when the lane must leave it. */
static const known_length *look_up(Lane *lane, PyObject *request, const uint8_t *buffer, const jp_head *head)
{
    const uint8_t *value = NULL;
    size_t size;
    if (!find_length(buffer, head, &value, &size) || !size || size > LENGTH_DIGITS)
        return NULL;
    uint32_t hash = (uint32_t)size;
    for (size_t i = 0; i < size; i++)
        hash = hash * 31 + value[i];
    known_length *known = &lane->lengths[hash % LENGTHS];
    if (!known->framing || known->size != size || memcmp(known->value, value, size) != 0) {
        if (!ask(lane, request, head, known))
            return NULL;
        known->size = (uint8_t)size;
        memcpy(known->value, value, size);
    }
    return known->framing ? known : NULL;
}

/* -- Routes ------------------------------------------------------------------------------------------ */

/* The target of a path, a new reference; NULL without an error when none takes it.
 *
 * Paths without placeholders are remembered, as Application.target does: only those that a pattern has, so
 * that no client can drive the others out. */
static PyObject *find_target(Lane *lane, int method, const uint8_t *path, size_t size)
{
    const jp_state *state = lane->state;
    if (size > PATH_OCTETS)
        return jp_find_route(state, lane->routes, method, path, size, &lane->spare_target);
    size_t hash = size * 7 + (size_t)method + path[size - 1] * 31u + path[size / 2] * 131u;
    known_path *known = &lane->paths[hash % PATHS];
    if (known->target && known->size == size && known->method == method && memcmp(known->path, path, size) == 0)
        return Py_NewRef(known->target);
    PyObject *target = jp_find_route(state, lane->routes, method, path, size, &lane->spare_target);
    if (target && OF(target, target, match) == Py_None) {
        known->size = (uint8_t)size;
        known->method = (uint8_t)method;
        memcpy(known->path, path, size);
        Py_XSETREF(known->target, Py_NewRef(target));
    }
    return target;
}

/* -- One request ------------------------------------------------------------------------------------- */

/* A request for the head at spans, which nobody has looked at yet. */
static PyObject *make_request(Lane *lane, PyObject *connection, PyObject *buffer, const jp_head *spans, int method)
{
    const jp_state *state = lane->state;
    PyObject *request = lane->spare;
    lane->spare = NULL;
    if (!request) {
        request = jp_new_request(state, (PyTypeObject *)lane->request_type);
        if (!request)
            return NULL;
    }
    jp_put(request, state->at.request.connection, Py_NewRef(connection));
    jp_extras *extras = jp_extras_of(state, request);
    extras->buffer = Py_NewRef(buffer);
    extras->framing = Py_NewRef(state->persistent_framing);
    extras->head = *spans;
    extras->method = method;
    return request;
}

/* Whether a response is of the commonest kind; see assembler.is_common. */
static bool is_common(const jp_state *state, PyObject *response)
{
    return OF(response, response, _code) == state->ok && OF(response, response, _headers) == Py_None &&
           OF(response, response, _cookies) == Py_None && OF(response, response, _content_type) != Py_None;
}

/* Done with a request that was answered: use it again, or leave it to the one who has kept it. */
static bool let_go(Lane *lane, PyObject *request, PyObject *response)
{
    const jp_state *state = lane->state;
    if (Py_REFCNT(request) == 1) {
        PyObject **target = &OF(request, request, destination);
        if (!lane->spare_target && *target && (PyObject *)Py_TYPE(*target) == state->target_type &&
            Py_REFCNT(*target) == 1) {
            lane->spare_target = *target;
            *target = NULL;
            jp_put(lane->spare_target, state->at.target.match, NULL); /* what the client sent is nobody else's */
        }
        if (!lane->spare && (PyObject *)Py_TYPE(request) == lane->request_type &&
            jp_reuse_request(state, request))
            lane->spare = request;
        else
            Py_DECREF(request);
        return true;
    }
    jp_put(request, state->at.request.stage, Py_NewRef(state->done));
    jp_put(request, state->at.request.response, Py_NewRef(response));
    if (!is_common(state, response))
        jp_put(request, state->at.request.common, Py_NewRef(Py_False));
    bool good = jp_head_of(state, request) != NULL; /* so that it does not hold all that was received */
    Py_DECREF(request);
    return good;
}

/* The exception that is set, as an object with its traceback. */
static PyObject *take_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* Call the handler; a coroutine takes its first step.  The outcome, were it not for the lane. */
static outcome call_handler(Lane *lane, PyObject *request, PyObject **result)
{
    const jp_state *state = lane->state;
    PyObject *handler = Py_XNewRef(OF(target, OF(request, request, destination), handler));
    if (handler)
        *result = PyObject_CallOneArg(handler, request);
    else
        PyErr_SetString(PyExc_AttributeError, "handler");
    Py_XDECREF(handler);
    if (!clean_context(lane)) {
        Py_CLEAR(*result);
        return FAILED;
    }
    if (!*result) {
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
            return FAILED;
        *result = take_exception();
        return RAISED;
    }
    if (!PyCoro_CheckExact(*result))
        return ANSWERED;
    PyObject *coroutine = *result, *sent;
    switch (jp_first_step(state, &lane->driver, lane->runner, coroutine, &sent)) {
    case JP_STEP_NOT_NOW:
        return ANSWERED;
    case JP_STEP_RETURNED:
        Py_DECREF(coroutine);
        *result = sent;
        return RETURNED;
    case JP_STEP_WAITS:
        *result = PyTuple_Pack(2, coroutine, sent);
        Py_DECREF(coroutine);
        Py_DECREF(sent);
        return *result ? WAITS : FAILED;
    default:
        *result = NULL;
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
            Py_DECREF(coroutine);
            return FAILED;
        }
        *result = take_exception();
        Py_DECREF(coroutine);
        return BROKE;
    }
}

/* Append an answer that the lane's own C does not take; see assembler.plain_answer. */
static jp_appended append_careful(Lane *lane, PyObject *request, PyObject *response)
{
    PyObject *args[] = {request, response, lane->date};
    PyObject *octets = PyObject_Vectorcall(lane->state->plain_answer, args, 3, NULL);
    if (!octets)
        return JP_FAILED;
    jp_appended appended = JP_NOT_PLAIN;
    if (PyBytes_CheckExact(octets)) {
        size_t size = (size_t)PyBytes_GET_SIZE(octets);
        appended = jp_reserve(&lane->output, size) ? JP_APPENDED : JP_FAILED;
        if (appended == JP_APPENDED) {
            memcpy(lane->output.octets + lane->output.size, PyBytes_AS_STRING(octets), size);
            lane->output.size += size;
        }
    }
    Py_DECREF(octets);
    return appended;
}

/* Append what a handler has answered, if that is for the lane. */
static jp_appended append(Lane *lane, PyObject *connection, PyObject *request, PyObject *answer)
{
    const jp_state *state = lane->state;
    bool known = Py_TYPE(answer) == state->fast_response || (PyObject *)Py_TYPE(answer) == state->response_type;
    if (!(known || PyObject_TypeCheck(answer, (PyTypeObject *)state->response_type)) ||
        OF(request, request, _done_callbacks) != Py_None || OF(request, request, persistent) != Py_True ||
        !goes_on(lane, connection))
        return JP_NOT_PLAIN;
    jp_appended appended = known ? jp_append_plain(state, &lane->output, answer, lane->date) : JP_NOT_PLAIN;
    return appended == JP_NOT_PLAIN ? append_careful(lane, request, answer) : appended;
}

/* Find out whether a request with content is for the lane, and where the content ends. */
static outcome take_content(Lane *lane, PyObject *request, PyObject *buffer, const jp_head *spans, size_t *end)
{
    const jp_state *state = lane->state;
    const known_length *known = look_up(lane, request, (const uint8_t *)PyBytes_AS_STRING(buffer), spans);
    if (!known)
        return PyErr_Occurred() ? FAILED : LEFT;
    PyObject *target = OF(request, request, destination);
    PyObject *most = OF(target, target, content_bytes);
    if (OF(target, target, stream) != Py_False || !most || !PyLong_Check(most) ||
        known->length > (size_t)PyBytes_GET_SIZE(buffer) - spans->end)
        return LEFT;
    int overflow;
    long long bound = PyLong_AsLongLongAndOverflow(most, &overflow);
    if (!overflow && bound < (long long)known->length)
        return LEFT;
    /* Whatever was looked at above may have made the head; it knows of no content then. */
    jp_extras *extras = jp_extras_of(state, request);
    jp_put(request, state->at.request.head, NULL);
    Py_XSETREF(extras->buffer, Py_NewRef(buffer));
    Py_XSETREF(extras->framing, Py_NewRef(known->framing));
    extras->content = spans->end;
    extras->length = known->length;
    *end += known->length;
    return SERVED;
}

/* Serve the request at spans.  Behind it, the next one starts at *end.
 *
 * If it is for the general path and its handler was called, *handed gets the request, and *result what
 * the handler has made. */
static outcome serve_one(Lane *lane, PyObject *connection, PyObject *buffer, const jp_head *spans, size_t *end,
                         PyObject **handed, PyObject **result)
{
    const jp_state *state = lane->state;
    const uint8_t *octets = (const uint8_t *)PyBytes_AS_STRING(buffer);
    *end = spans->end;
    if (!spans->minor || (spans->seen & ~JP_CONTENT_LENGTH) != JP_HOST)
        return LEFT;
    int method = jp_method_of(octets + spans->start, spans->method_end - spans->start);
    if (method < 0)
        return LEFT;
    PyObject *target = find_target(lane, method, octets + spans->target, spans->path_end - spans->target);
    if (!target)
        return PyErr_Occurred() ? FAILED : LEFT;
    PyObject *request = make_request(lane, connection, buffer, spans, method);
    if (!request) {
        Py_DECREF(target);
        return FAILED;
    }
    jp_put(request, state->at.request.destination, target);
    if (spans->seen & JP_CONTENT_LENGTH) {
        outcome content = take_content(lane, request, buffer, spans, end);
        if (content != SERVED) {
            Py_DECREF(request);
            return content;
        }
    }
    outcome called = call_handler(lane, request, result);
    if (called == ANSWERED || called == RETURNED) {
        jp_appended appended = append(lane, connection, request, *result);
        if (appended == JP_APPENDED) {
            if (lane->meter)
                jp_meter_answer(lane->meter, state, method, OF(response, *result, _code));
            bool good = let_go(lane, request, *result);
            Py_CLEAR(*result);
            return good ? SERVED : FAILED;
        }
        if (appended == JP_FAILED && !clear_exception()) { /* The general path finds the same, and says it. */
            Py_CLEAR(*result);
            called = FAILED;
        }
    }
    if (called == FAILED)
        Py_DECREF(request);
    else
        *handed = request;
    return called;
}

/* -- All that was received --------------------------------------------------------------------------- */

/* Serve requests of buffer, as long as all is plain; *start gets where the rest starts. */
static outcome serve_all(Lane *lane, PyObject *connection, PyObject *buffer, size_t *start, PyObject **handed,
                         PyObject **result)
{
    const uint8_t *octets = (const uint8_t *)PyBytes_AS_STRING(buffer);
    size_t length = (size_t)PyBytes_GET_SIZE(buffer), served = 0, content = 0;
    outcome last = SERVED;
    while (last == SERVED && *start < length) {
        jp_head heads[HEADS];
        size_t found = jp_scan(lane->level, octets, length, *start, &lane->bounds, heads, HEADS);
        if (!found)
            last = LEFT;
        for (size_t i = 0; last == SERVED && i < found; i++) {
            if (!lane->learned || lane->output.size >= lane->output_max || served >= lane->requests_max) {
                last = LEFT;
                break;
            }
            size_t end;
            last = serve_one(lane, connection, buffer, &heads[i], &end, handed, result);
            if (last != LEFT && last != FAILED)
                *start = end;
            served += last == SERVED;
            content += last == SERVED ? end - heads[i].end : 0;
        }
    }
    return last != FAILED && !count(lane->state, connection, served, content) ? FAILED : last;
}

/* What came and was not served, a new reference: the buffer from start on, and what is behind it. */
static PyObject *rest_of(PyObject *buffer, size_t start, PyObject *late)
{
    Py_ssize_t size = PyBytes_GET_SIZE(buffer) - (Py_ssize_t)start, more = PyBytes_GET_SIZE(late);
    PyObject *rest = PyBytes_FromStringAndSize(NULL, size + more);
    if (rest) {
        memcpy(PyBytes_AS_STRING(rest), PyBytes_AS_STRING(buffer) + start, (size_t)size);
        memcpy(PyBytes_AS_STRING(rest) + size, PyBytes_AS_STRING(late), (size_t)more);
    }
    return rest;
}

/* What serve() returns: the output alone, or (output, rest, request, result, outcome). */
static PyObject *report(Lane *lane, PyObject *rest, PyObject *handed, PyObject *result, outcome last)
{
    PyObject *output = rest ? PyBytes_FromStringAndSize(lane->output.octets, (Py_ssize_t)lane->output.size) : NULL;
    if (!output || (last == SERVED && !PyBytes_GET_SIZE(rest)))
        return output;
    return Py_BuildValue("(NOOOi)", output, rest, handed ? handed : Py_None, result ? result : Py_None,
                         last == SERVED ? (int)LEFT : (int)last);
}

PyDoc_STRVAR(serve_doc, "serve(connection, data)\n--\n\n"
"Serve what is plain of the octets that an idle connection has received; see interfaces.Lane.");

static PyObject *serve_if_idle(Lane *lane, PyObject *connection, PyObject *buffer)
{
    const jp_state *state = lane->state;
    if (!lane->learned && !learn(lane))
        return NULL;
    if (!is_idle(lane, connection) || is_busy(lane))
        Py_RETURN_NONE;
    if (!refresh_date(lane) || !enter_context(lane))
        return NULL;
    lane->output.size = 0;
    jp_put(connection, state->at.connection.late, Py_NewRef(state->no_octets));
    PyObject *handed = NULL, *result = NULL;
    size_t start = 0;
    if (lane->meter)
        jp_meter_begin(lane->meter);
    outcome last = serve_all(lane, connection, buffer, &start, &handed, &result);
    if (!leave_context(lane))
        last = FAILED;
    PyObject *late = OF(connection, connection, late);
    OF(connection, connection, late) = Py_NewRef(Py_None);
    PyObject *rest = last == FAILED ? NULL : rest_of(buffer, start, late);
    PyObject *said = report(lane, rest, handed, result, last);
    if (lane->meter && said) /* What is handed over, the general path counts as it sends it. */
        jp_meter_end(lane->meter, PyBytes_CheckExact(said) ? (size_t)PyBytes_GET_SIZE(said) : 0);
    Py_XDECREF(late);
    Py_XDECREF(rest);
    Py_XDECREF(handed);
    Py_XDECREF(result);
    if (lane->output.capacity > OUTPUT_KEPT) {
        PyMem_Free(lane->output.octets);
        lane->output = (jp_output){NULL, 0, 0};
    }
    return said;
}

static PyObject *serve_buffer(Lane *lane, PyObject *connection, PyObject *buffer)
{
    if (lane->meter && PyBytes_Check(buffer))
        jp_meter_received(lane->meter, (size_t)PyBytes_GET_SIZE(buffer));
    if (lane->busy || !PyBytes_CheckExact(buffer) || PyBytes_GET_SIZE(buffer) >= UINT32_MAX)
        Py_RETURN_NONE;
    lane->busy = true;
    PyObject *said = serve_if_idle(lane, connection, buffer);
    lane->busy = false;
    return said;
}

static PyObject *serve(Lane *lane, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs == 2 && (PyObject *)Py_TYPE(args[0]) == lane->state->connection_type)
        return serve_buffer(lane, args[0], args[1]);
    PyErr_SetString(PyExc_TypeError, "serve() takes a connection and what it has received");
    return NULL;
}

PyDoc_STRVAR(forget_doc, "forget()\n--\n\nThe application has changed: ask it anew before the next request.");

static PyObject *lane_forget(Lane *lane, PyObject *Py_UNUSED(ignored))
{
    lane->learned = false; /* What is in use now is let go of by learn(). */
    Py_RETURN_NONE;
}

PyDoc_STRVAR(count_into_doc, "count_into(row, statuses, *places, bounds)\n--\n\n"
"Count what is served; see metrics.Meter.lane_cells for the arguments.");

static PyObject *count_into(Lane *lane, PyObject *args)
{
    jp_meter *meter = lane->busy ? NULL : jp_make_meter(args);
    if (!meter) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError, "the lane is serving");
        return NULL;
    }
    jp_free_meter(lane->meter);
    lane->meter = meter;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(elapsed_doc, "elapsed()\n--\n\nThe seconds since serve() was called last, where it counts; else 0.");

static PyObject *elapsed(Lane *lane, PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble(lane->meter ? jp_meter_elapsed(lane->meter) : 0);
}

/* -- The type ---------------------------------------------------------------------------------------- */

static PyObject *lane_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"app", "runner", "date", "level", NULL};
    PyObject *app, *runner, *make_date;
    int level;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOi", names, &app, &runner, &make_date, &level))
        return NULL;
    if (level < 0 || level >= JP_LEVELS || !jp_has((enum jp_level)level)) {
        PyErr_SetString(PyExc_ValueError, "this processor does not have that level");
        return NULL;
    }
    jp_state *state = jp_state_of(type);
    Lane *lane = state ? (Lane *)jp_new((PyObject *)type) : NULL;
    if (!lane)
        return NULL;
    lane->state = state;
    lane->app = Py_NewRef(app);
    lane->runner = Py_NewRef(runner);
    lane->make_date = Py_NewRef(make_date);
    lane->pristine = PyObject_GetAttrString(runner, "pristine");
    if (!lane->pristine || !PyContext_CheckExact(lane->pristine)) {
        if (lane->pristine)
            PyErr_SetString(PyExc_TypeError, "the runner has no pristine context");
        Py_DECREF(lane);
        return NULL;
    }
    lane->tasks = PyObject_GetAttrString(runner, "tasks");
    if (!lane->tasks || !PyAnySet_CheckExact(lane->tasks)) {
        if (lane->tasks)
            PyErr_SetString(PyExc_TypeError, "the runner has no set of tasks");
        Py_DECREF(lane);
        return NULL;
    }
    lane->level = (enum jp_level)level;
    return (PyObject *)lane;
}

static int lane_traverse(Lane *lane, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(lane));
    Py_VISIT(lane->app);
    Py_VISIT(lane->runner);
    Py_VISIT(lane->make_date);
    Py_VISIT(lane->pristine);
    Py_VISIT(lane->tasks);
    Py_VISIT(lane->context);
    Py_VISIT(lane->request_type);
    Py_VISIT(lane->limits);
    Py_VISIT(lane->spare);
    Py_VISIT(lane->spare_target);
    for (size_t i = 0; i < PATHS; i++)
        Py_VISIT(lane->paths[i].target);
    Py_VISIT(lane->driver.driver);
    Py_VISIT(lane->driver.loop);
    return jp_visit_routes(lane->routes, visit, arg);
}

static int lane_clear(Lane *lane)
{
    Py_CLEAR(lane->app);
    Py_CLEAR(lane->runner);
    Py_CLEAR(lane->make_date);
    Py_CLEAR(lane->pristine);
    Py_CLEAR(lane->tasks);
    Py_CLEAR(lane->context);
    Py_CLEAR(lane->date);
    forget(lane);
    jp_drop_driver(&lane->driver);
    for (size_t i = 0; i < LENGTHS; i++)
        Py_CLEAR(lane->lengths[i].framing);
    return 0;
}

static void lane_dealloc(Lane *lane)
{
    PyTypeObject *type = Py_TYPE(lane);
    PyObject_GC_UnTrack(lane);
    lane_clear(lane);
    PyMem_Free(lane->output.octets);
    jp_free_meter(lane->meter);
    type->tp_free(lane);
    Py_DECREF(type);
}

static PyMethodDef lane_methods[] = {
    {"serve", (PyCFunction)(void (*)(void))serve, METH_FASTCALL, serve_doc},
    {"forget", (PyCFunction)lane_forget, METH_NOARGS, forget_doc},
    {"count_into", (PyCFunction)count_into, METH_VARARGS, count_into_doc},
    {"elapsed", (PyCFunction)elapsed, METH_NOARGS, elapsed_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(lane_doc, "Lane(app, runner, date, level)\n--\n\n"
"The fast lane of a worker; see interfaces.Lane.\n\n"
"app     the application\n"
"runner  the tasks.Runner of the worker\n"
"date    called for the value of Date, once a second\n"
"level   the instruction set of the scanner");

int jp_make_lane_type(PyObject *module, jp_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_doc, (void *)lane_doc},
        {Py_tp_new, lane_new},
        {Py_tp_methods, lane_methods},
        {Py_tp_traverse, lane_traverse},
        {Py_tp_clear, lane_clear},
        {Py_tp_dealloc, lane_dealloc},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "japronto.accel._lane.Lane",
        .basicsize = sizeof(Lane),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    state->lane_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->lane_type ? 0 : -1;
}

/* -- The protocol ------------------------------------------------------------------------------------ */

/* Send output, as protocol.py: HTTPProtocol.data_received does. */
static PyObject *send_output(const jp_state *state, PyObject *protocol, PyObject *output)
{
    if (!add(protocol, state->at.protocol._written, (size_t)PyBytes_GET_SIZE(output)))
        return NULL;
    PyObject *transport = Py_XNewRef(OF(protocol, protocol, transport));
    if (!transport) {
        PyErr_SetString(PyExc_AttributeError, "transport");
        return NULL;
    }
    PyObject *args[] = {transport, output};
    PyObject *result = PyObject_VectorcallMethod(state->write_name, args, 2, NULL);
    Py_DECREF(transport);
    return result;
}

/* HTTPProtocol.data_received: one call of C from the event loop to the transport, where all is plain.  A
 * frame of Python in between would count where requests come one by one. */
static PyObject *data_received(PyObject *protocol, PyTypeObject *made, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *names)
{
    const jp_state *state = PyType_GetModuleState(made);
    bool named = nargs == 0 && names && PyTuple_GET_SIZE(names) == 1 &&
                 PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "data") == 0;
    if (!state || !(named || (nargs == 1 && !(names && PyTuple_GET_SIZE(names))))) {
        if (state)
            PyErr_SetString(PyExc_TypeError, "data_received() takes one argument, data");
        return NULL;
    }
    /* Handlers may take either away from the protocol. */
    PyObject *lane = Py_XNewRef(OF(protocol, protocol, _lane));
    PyObject *connection = Py_XNewRef(OF(protocol, protocol, connection));
    PyObject *served = NULL;
    if (!lane || !connection || Py_TYPE(lane) != state->lane_type ||
        (PyObject *)Py_TYPE(connection) != state->connection_type)
        served = Py_NewRef(Py_None);
    else
        served = serve_buffer((Lane *)lane, connection, args[0]);
    Py_XDECREF(lane);
    Py_XDECREF(connection);
    if (!served)
        return NULL;
    PyObject *result;
    if (PyBytes_CheckExact(served)) {
        result = send_output(state, protocol, served);
    } else {
        PyObject *rest[] = {protocol, args[0], served};
        result = PyObject_VectorcallMethod(state->carry_on_name, rest, 3, NULL);
    }
    Py_DECREF(served);
    return result;
}

PyDoc_STRVAR(data_received_doc, "data_received(data)\n--\n\nOctets have come from the client.");

static PyMethodDef protocol_methods[] = {
    {"data_received", (PyCFunction)(void (*)(void))data_received, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     data_received_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(protocol_doc, "A connection whose octets go through the fast lane in one call; see japronto.protocol.");

int jp_make_protocol_type(PyObject *module, jp_state *state)
{
    static PyType_Slot slots[] = {
        {Py_tp_doc, (void *)protocol_doc},
        {Py_tp_methods, protocol_methods},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "japronto.accel._lane.Protocol",
        .basicsize = (int)((PyTypeObject *)state->protocol_type)->tp_basicsize,
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = slots,
    };
    state->fast_protocol = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, state->protocol_type);
    return state->fast_protocol ? 0 : -1;
}
