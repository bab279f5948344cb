/* What the files lane*.c share: the extension module japronto.accel._lane.
 *
 * It makes the parts of the reference that every request goes through fast, and adds no behaviour:
 *
 *   lane_module.c      the module; what it is told about the classes of the reference
 *   lane_request.c     Request: built from spans, its head decoded when it is asked for
 *   lane_response.c    Response: the common ways to call it
 *   lane_fields.c      the fields and the media type that a response is given
 *   lane_answers.c     answers to octets: assemble(), and what the lane uses of it
 *   lane_routes.c      the tree of patterns
 *   lane_coroutines.c  the first step of a handler that is async
 *   lane_meter.c       what it counts, where somebody wants to know
 *   lane_serve.c       the lane itself, which puts all of them together
 *
 * The objects are those of the reference: Response and Request are subclasses that add no attribute, and
 * RequestHead and Target are the very same classes.  C reads and writes their slots in place, at offsets
 * that it takes from the descriptors when the module is set up; japronto/backend.py hands the classes
 * over.  So a value is in one place only, whoever looks at it, and Python code of the reference runs on
 * the fast objects unchanged.
 *
 * Everything here runs with the GIL held. */
#ifndef JAPRONTO_LANE_H
#define JAPRONTO_LANE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>
#include <string.h>

#include "scan.h"

/* -- The slots of the reference's classes that are used here -------------------------------------- */

#define JP_HEAD_SLOTS(X) X(complete) X(content) X(framing) X(method) X(minor) X(path) X(query) X(route) \
    X(section) X(target)
#define JP_TARGET_SLOTS(X) X(content_bytes) X(handler) X(match) X(route) X(stream)
#define JP_REQUEST_SLOTS(X) X(_content) X(_cookies) X(_done_callbacks) X(_extra) X(_form) X(_headers) X(_id) \
    X(_json) X(_origin) X(_query) X(_trailers) X(boundary) X(common) X(connection) X(destination) X(head) \
    X(is_disconnected) X(persistent) X(refusal) X(response) X(stage) X(streams) X(wants_continue)
#define JP_RESPONSE_SLOTS(X) X(_body) X(_code) X(_content_type) X(_cookies) X(_headers) X(_stream) X(_upgrade)
#define JP_HEADERS_SLOTS(X) X(lines)
#define JP_CONNECTION_SLOTS(X) X(_draining) X(_parser) X(blocked) X(eof) X(heads) X(limits) \
    X(late) X(phase) X(queue) X(received)
#define JP_PARSER_SLOTS(X) X(_buffer) X(_mode) X(more)
#define JP_PROTOCOL_SLOTS(X) X(_lane) X(_written) X(connection) X(transport)
#define JP_DRIVER_SLOTS(X) X(_coroutine) X(_name) X(_snapshot) X(context) X(over) X(task)

/* Every class of the reference that is used here, with its slots. */
#define JP_CLASSES(X) \
    X(head, JP_HEAD_SLOTS) X(target, JP_TARGET_SLOTS) X(request, JP_REQUEST_SLOTS) \
    X(response, JP_RESPONSE_SLOTS) X(headers, JP_HEADERS_SLOTS) X(connection, JP_CONNECTION_SLOTS) \
    X(parser, JP_PARSER_SLOTS) X(driver, JP_DRIVER_SLOTS) X(protocol, JP_PROTOCOL_SLOTS)

#define JP_OFFSET(name) Py_ssize_t name;
#define JP_OFFSETS(class, SLOTS) struct { SLOTS(JP_OFFSET) } class;

/* -- What the module knows ------------------------------------------------------------------------- */

/* The objects of the reference that it is given, besides the classes. */
#define JP_PARTS(X) \
    X(content_type)            /* response.content_type_of */ \
    X(encode_text)             /* response.encode_text */ \
    X(persistent_framing)      /* messages.PERSISTENT */ \
    X(frame)                   /* framing.frame */ \
    X(assemble)                /* assembler.assemble */ \
    X(plain_answer)            /* assembler.plain_answer */ \
    X(status_lines)            /* a tuple of bytes, from the status code 200 on */ \
    X(large)                   /* content of so many octets is not copied: assembler.LARGE */ \
    X(text_type)               /* the Content-Type of text */ \
    X(octets_type)             /* ... of bytes */ \
    X(json_type)               /* ... of JSON */ \
    X(running)                 /* Stage.RUNNING */ \
    X(done)                    /* Stage.DONE */ \
    X(open)                    /* Phase.OPEN */ \
    X(head_mode)               /* the mode of a parser that waits for a head */ \
    X(enter_task)              /* asyncio's */ \
    X(leave_task)              /* asyncio's */ \

#define JP_PART(name) PyObject *name;
#define JP_TYPE(class, SLOTS) PyObject *class##_type;

enum { JP_METHODS = 5, JP_SPARE_RESPONSES = 64, JP_REQUEST_GETSET = 7 };

typedef struct {
    JP_CLASSES(JP_TYPE) /* of the reference */
    JP_PARTS(JP_PART)
    struct { JP_CLASSES(JP_OFFSETS) } at; /* where the slots of an object of a class stand */
    PyTypeObject *fast_request;
    PyTypeObject *fast_response;
    PyTypeObject *fast_protocol;
    PyTypeObject *lane_type;
    PyObject *methods[JP_METHODS]; /* those that the lane serves, as str; see jp_method_of() */
    PyObject *one, *ok, *no_octets; /* 1, 200, b"" */
    PyObject *text_name, *json_name, *body_name, *code_name, *init_name, *encode_json_name, *cancelling_name,
        *mime_type_name, *headers_name, *write_name, *carry_on_name, *get_name_name, *callbacks_name;
    PyObject *text_types, *other_types; /* dicts: media types to values of Content-Type */
    char *fresh;                   /* the slots of a new request, as they stand in it */
    Py_ssize_t fresh_first;        /* where they start in it */
    size_t fresh_size;
    Py_ssize_t large_octets;       /* assembler.LARGE, as a number of C */
    Py_ssize_t extras;             /* where jp_extras stands in a fast request */
    PyGetSetDef request_getset[JP_REQUEST_GETSET];
    PyObject *spare_responses[JP_SPARE_RESPONSES]; /* memory without an object in it */
    size_t spare_count;
} jp_state;

extern struct PyModuleDef jp_module;

/* The state, for an object of a class that the module made, or of a subclass. */
static inline jp_state *jp_state_of(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &jp_module);
    return module ? PyModule_GetState(module) : NULL;
}

/* A slot of an object, which may be NULL while it is not set. */
static inline PyObject **jp_slot(PyObject *object, Py_ssize_t offset)
{
    return (PyObject **)((char *)object + offset);
}

/* Put a new reference into a slot that holds one, or none. */
static inline void jp_put(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    PyObject **slot = jp_slot(object, offset), *old = *slot;
    *slot = value;
    Py_XDECREF(old);
}

/* What follows is for tp_clear, tp_traverse and tp_dealloc.  They may run when a collector has cleared the
 * class already, and the module with it; what stays of a class is its bases, and where its slots are. */

/* The class of an object, or the base of it, that was made here with this dealloc. */
static inline PyTypeObject *jp_made_here(PyObject *object, destructor dealloc)
{
    PyTypeObject *type = Py_TYPE(object);
    while (type->tp_dealloc != dealloc)
        type = type->tp_base;
    return type;
}

/* Let go of what is in the slots that a class has defined. */
static inline void jp_clear_slots(PyTypeObject *type, PyObject *object)
{
    for (const PyMemberDef *member = type->tp_members; member && member->name; member++)
        if (member->type == T_OBJECT_EX)
            Py_CLEAR(*jp_slot(object, member->offset));
}

static inline int jp_visit_slots(PyTypeObject *type, PyObject *object, visitproc visit, void *arg)
{
    for (const PyMemberDef *member = type->tp_members; member && member->name; member++)
        if (member->type == T_OBJECT_EX)
            Py_VISIT(*jp_slot(object, member->offset));
    return 0;
}

/* An object of a class, all of its slots NULL; __init__ is not called. */
static inline PyObject *jp_new(PyObject *type)
{
    return ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
}

/* -- lane_request.c ---------------------------------------------------------------------------------- */

/* What a fast request has behind the slots of the reference. */
typedef struct {
    PyObject *buffer;   /* bytes that the head stands in; NULL once the head is an object */
    PyObject *framing;  /* of the head, while it is not an object */
    PyObject *body;     /* the content, once it was asked for, while the head is not an object */
    PyObject *dict;     /* of attributes that handlers set */
    jp_head head;
    uint32_t content;   /* where the content starts */
    uint32_t length;    /* of the content; 0 when there is none */
    int method;
} jp_extras;

static inline jp_extras *jp_extras_of(const jp_state *state, PyObject *request)
{
    return (jp_extras *)((char *)request + state->extras);
}

/* The head is an object now, or there is another: let go of what it was made of. */
static inline void jp_drop_octets(jp_extras *extras)
{
    Py_CLEAR(extras->buffer);
    Py_CLEAR(extras->framing);
    Py_CLEAR(extras->body);
}

int jp_make_request_type(PyObject *module, jp_state *state);

/* The number of a method that the lane serves, an index into state->methods; -1 of any other. */
int jp_method_of(const uint8_t *method, size_t size);

/* A request that is RUNNING: everything else is as __init__ leaves it, but for head, destination and
 * connection. */
PyObject *jp_new_request(const jp_state *state, PyTypeObject *type);

/* Put a request that nobody else holds back into that state; false if it must not be used again. */
bool jp_reuse_request(const jp_state *state, PyObject *request);

/* The head of a request, as an object; a borrowed reference. */
PyObject *jp_head_of(const jp_state *state, PyObject *request);

/* -- lane_response.c --------------------------------------------------------------------------------- */

int jp_make_response_type(PyObject *module, jp_state *state);
void jp_free_responses(jp_state *state);

/* -- lane_fields.c ----------------------------------------------------------------------------------- */

/* A ResponseHeaders of what a handler has given as headers; NULL, without an error as a rule, when the
 * reference must look at it. */
PyObject *jp_make_fields(const jp_state *state, PyObject *fields);

/* The value of Content-Type, a borrowed reference; NULL when the reference must look at the media type. */
PyObject *jp_content_type(const jp_state *state, PyObject *mime_type, bool text);

/* -- lane_answers.c ---------------------------------------------------------------------------------- */

/* Octets that grow. */
typedef struct {
    char *octets;
    size_t size, capacity;
} jp_output;

bool jp_reserve(jp_output *output, size_t more); /* sets MemoryError when it returns false */

/* What came of an attempt to append an answer. */
typedef enum { JP_FAILED = -1, JP_NOT_PLAIN, JP_APPENDED } jp_appended;

/* Append the answer to a request by HTTP/1.1 that is neither HEAD nor CONNECT, after which the connection
 * goes on.  JP_NOT_PLAIN, and nothing is appended, for one that the reference must look at. */
jp_appended jp_append_plain(const jp_state *state, jp_output *output, PyObject *response, PyObject *date);

PyObject *jp_assemble(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* -- lane_routes.c ----------------------------------------------------------------------------------- */

typedef struct jp_routes jp_routes;

/* Lay out routes; see Application.laid_out() in japronto/app.py for their form. */
jp_routes *jp_make_routes(const jp_state *state, PyObject *routes);
void jp_free_routes(jp_routes *routes);
int jp_visit_routes(jp_routes *routes, visitproc visit, void *arg);

/* The target of a path, a new reference; NULL without an error when none takes it.  *spare is a target to
 * use again for it, or NULL. */
PyObject *jp_find_route(const jp_state *state, const jp_routes *routes, int method, const uint8_t *path,
                        size_t size, PyObject **spare);

/* -- lane_coroutines.c ------------------------------------------------------------------------------- */

/* The driver that is lent by tasks.Runner; see there. */
typedef struct {
    PyObject *driver, *loop;
    Py_ssize_t references, weak_references; /* to its task, when it was lent */
} jp_driver;

typedef enum {
    JP_STEP_FAILED = -1, /* the coroutine has raised; the exception is set */
    JP_STEP_RETURNED,    /* it has returned *result */
    JP_STEP_WAITS,       /* it waits for *result */
    JP_STEP_NOT_NOW      /* it was not started */
} jp_step;

jp_step jp_first_step(const jp_state *state, jp_driver *driver, PyObject *runner, PyObject *coroutine,
                      PyObject **result);
void jp_drop_driver(jp_driver *driver);

/* -- lane_meter.c ------------------------------------------------------------------------------------ */

typedef struct jp_meter jp_meter;

/* One that counts into the row that is given; see japronto/metrics.py for the arguments. */
jp_meter *jp_make_meter(PyObject *args);
void jp_free_meter(jp_meter *meter);

/* So many octets have come. */
void jp_meter_received(jp_meter *meter, size_t octets);

/* Requests are served from now on; each that was served, with the code of its answer; all of them are, and so
 * many octets leave. */
void jp_meter_begin(jp_meter *meter);
void jp_meter_answer(jp_meter *meter, const jp_state *state, int method, PyObject *code);
void jp_meter_end(jp_meter *meter, size_t sent);

/* How long ago that began, in seconds. */
double jp_meter_elapsed(const jp_meter *meter);

/* -- lane_serve.c ------------------------------------------------------------------------------------ */

int jp_make_lane_type(PyObject *module, jp_state *state);
int jp_make_protocol_type(PyObject *module, jp_state *state);

#endif
