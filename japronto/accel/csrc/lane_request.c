/* Request: built from spans, its head decoded when it is asked for.
 *
 * The lane uses one request again and again, unless a handler has kept it.  An object for the head takes
 * longer to build than all the rest; a handler that looks at nothing does without. */
#include "lane.h"

int jp_method_of(const uint8_t *method, size_t size)
{
    /* In the order of the methods in lane_module.c. */
    static const struct { uint8_t size; char name[8]; } names[JP_METHODS] = {
        {3, "GET"}, {4, "POST"}, {3, "PUT"}, {5, "PATCH"}, {6, "DELETE"},
    };
    for (int i = 0; i < JP_METHODS; i++)
        if (names[i].size == size && names[i].name[0] == (char)method[0] && memcmp(method, names[i].name, size) == 0)
            return i;
    return -1;
}

static PyObject *text(const uint8_t *from, size_t size)
{
    PyObject *made = PyUnicode_New((Py_ssize_t)size, 127);
    if (made)
        memcpy(PyUnicode_1BYTE_DATA(made), from, size);
    return made;
}

static PyObject *octets(const uint8_t *from, size_t size)
{
    return PyBytes_FromStringAndSize((const char *)from, (Py_ssize_t)size);
}

/* The content of a request whose head is not an object; made once, since both may be asked for it. */
static PyObject *body_of(const jp_state *state, PyObject *request)
{
    jp_extras *extras = jp_extras_of(state, request);
    if (extras->framing == state->persistent_framing)
        return Py_NewRef(Py_None);
    if (!extras->body)
        extras->body = octets((const uint8_t *)PyBytes_AS_STRING(extras->buffer) + extras->content, extras->length);
    return Py_XNewRef(extras->body);
}

/* Fill in a RequestHead, as pure/grammar.py: scan() makes it.  Nothing here can start the collector. */
static bool fill_head(const jp_state *state, PyObject *request, PyObject *head)
{
    const jp_extras *extras = jp_extras_of(state, request);
    const uint8_t *buffer = (const uint8_t *)PyBytes_AS_STRING(extras->buffer);
    const jp_head *spans = &extras->head;
#define SET(name, value) (*jp_slot(head, state->at.head.name) = (value))
    bool complete = true;
    complete &= SET(target, octets(buffer + spans->target, spans->target_end - spans->target)) != NULL;
    complete &= SET(path, text(buffer + spans->target, spans->path_end - spans->target)) != NULL;
    complete &= SET(section, octets(buffer + spans->section, spans->section_end - spans->section)) != NULL;
    complete &= SET(query, spans->path_end == spans->target_end
        ? Py_NewRef(Py_None)
        : text(buffer + spans->path_end + 1, spans->target_end - spans->path_end - 1)) != NULL;
    complete &= SET(content, body_of(state, request)) != NULL;
    SET(method, Py_NewRef(state->methods[extras->method]));
    SET(minor, Py_NewRef(state->one));
    SET(framing, Py_NewRef(extras->framing));
    SET(complete, Py_NewRef(Py_True));
    SET(route, Py_NewRef(Py_None));
#undef SET
    return complete;
}

/* Make the head of a request that has none yet; false when it could not be made.
 *
 * The collector may start where the object is allocated, and what it runs may ask for the same head, or
 * set another one: then that is the head, and this one is thrown away. */
static bool make_head(const jp_state *state, PyObject *request)
{
    jp_extras *extras = jp_extras_of(state, request);
    PyObject *head = jp_new(state->head_type);
    bool made = head && (!extras->buffer || fill_head(state, request, head));
    if (made && extras->buffer) {
        *jp_slot(request, state->at.request.head) = head;
        jp_drop_octets(extras);
    } else {
        Py_XDECREF(head);
    }
    return made;
}

PyObject *jp_head_of(const jp_state *state, PyObject *request)
{
    PyObject **slot = jp_slot(request, state->at.request.head);
    if (!*slot && jp_extras_of(state, request)->buffer && !make_head(state, request))
        return NULL;
    if (!*slot)
        PyErr_SetString(PyExc_AttributeError, "head");
    return *slot;
}

static PyObject *get_head(PyObject *request, void *state)
{
    return Py_XNewRef(jp_head_of(state, request));
}

static int set_head(PyObject *request, PyObject *head, void *closure)
{
    const jp_state *state = closure;
    jp_put(request, state->at.request.head, Py_XNewRef(head));
    jp_drop_octets(jp_extras_of(state, request));
    return 0;
}

/* -- What handlers ask for most, without the way through the properties of the reference ------------------ */

/* An attribute of the head, where that is an object already; else NULL, without an error. */
static PyObject *of_head(const jp_state *state, PyObject *request, Py_ssize_t offset)
{
    if (jp_extras_of(state, request)->buffer)
        return NULL;
    PyObject *head = jp_head_of(state, request);
    PyObject *value = head && (PyObject *)Py_TYPE(head) == state->head_type ? *jp_slot(head, offset) : NULL;
    return Py_XNewRef(value);
}

/* What the reference says. */
static PyObject *refer(const jp_state *state, PyObject *request, const char *name)
{
    if (PyErr_Occurred())
        return NULL;
    PyObject *property = PyObject_GetAttrString(state->request_type, name);
    PyObject *value = property ? PyObject_CallMethod(property, "__get__", "O", request) : NULL;
    Py_XDECREF(property);
    return value;
}

static PyObject *get_method(PyObject *request, void *closure)
{
    const jp_state *state = closure;
    const jp_extras *extras = jp_extras_of(state, request);
    if (extras->buffer)
        return Py_NewRef(state->methods[extras->method]);
    PyObject *method = of_head(state, request, state->at.head.method);
    return method ? method : refer(state, request, "method");
}

static PyObject *get_path(PyObject *request, void *closure)
{
    const jp_state *state = closure;
    const jp_extras *extras = jp_extras_of(state, request);
    if (!extras->buffer)
        return refer(state, request, "path");
    const uint8_t *buffer = (const uint8_t *)PyBytes_AS_STRING(extras->buffer);
    return text(buffer + extras->head.target, extras->head.path_end - extras->head.target);
}

static PyObject *get_body(PyObject *request, void *closure)
{
    const jp_state *state = closure;
    return jp_extras_of(state, request)->buffer ? body_of(state, request) : refer(state, request, "body");
}

static PyObject *get_match_dict(PyObject *request, void *closure)
{
    const jp_state *state = closure;
    PyObject *target = *jp_slot(request, state->at.request.destination);
    PyObject *match = target && (PyObject *)Py_TYPE(target) == state->target_type
                          ? *jp_slot(target, state->at.target.match) : NULL;
    return match && match != Py_None ? Py_NewRef(match) : refer(state, request, "match_dict");
}

/* The slots that are None until something is set, and what __init__ sets of the others. */
#define NONES(X) X(_content) X(_cookies) X(_done_callbacks) X(_extra) X(_form) X(_headers) X(_id) X(_json) \
    X(_origin) X(_query) X(_trailers) X(refusal) X(response)
#define TRUES(X) X(common) X(persistent)
#define FALSES(X) X(boundary) X(is_disconnected) X(streams) X(wants_continue)

PyObject *jp_new_request(const jp_state *state, PyTypeObject *type)
{
    PyObject *request = jp_new((PyObject *)type);
    if (!request)
        return NULL;
#define TO_NONE(name) *jp_slot(request, state->at.request.name) = Py_NewRef(Py_None);
#define TO_TRUE(name) *jp_slot(request, state->at.request.name) = Py_NewRef(Py_True);
#define TO_FALSE(name) *jp_slot(request, state->at.request.name) = Py_NewRef(Py_False);
    NONES(TO_NONE)
    TRUES(TO_TRUE)
    FALSES(TO_FALSE)
    *jp_slot(request, state->at.request.stage) = Py_NewRef(state->running);
    return request;
}

/* Remember the slots of a new request, so that one comparison tells whether another one is as new,
 * in place of one for each slot. */
static int remember_fresh(jp_state *state)
{
    Py_ssize_t first = PY_SSIZE_T_MAX, last = 0;
#define WIDEN(name) \
    first = Py_MIN(first, state->at.request.name); \
    last = Py_MAX(last, state->at.request.name);
    JP_REQUEST_SLOTS(WIDEN)
    PyObject *request = jp_new_request(state, state->fast_request);
    state->fresh_first = first;
    state->fresh_size = (size_t)(last - first) + sizeof(PyObject *);
    state->fresh = request ? PyMem_Malloc(state->fresh_size) : NULL;
    if (state->fresh)
        memcpy(state->fresh, (char *)request + first, state->fresh_size);
    Py_XDECREF(request);
    if (!state->fresh && !PyErr_Occurred())
        PyErr_NoMemory();
    return state->fresh ? 0 : -1;
}

static void reset(PyObject *request, Py_ssize_t offset, PyObject *value)
{
    if (*jp_slot(request, offset) != value)
        jp_put(request, offset, Py_NewRef(value));
}

bool jp_reuse_request(const jp_state *state, PyObject *request)
{
    jp_extras *extras = jp_extras_of(state, request);
    if (extras->dict || (PyType_SUPPORTS_WEAKREFS(Py_TYPE(request)) && *PyObject_GET_WEAKREFS_LISTPTR(request)))
        return false;
    jp_put(request, state->at.request.head, NULL);
    jp_put(request, state->at.request.destination, NULL);
    jp_put(request, state->at.request.connection, NULL);
    jp_drop_octets(extras);
    if (memcmp((char *)request + state->fresh_first, state->fresh, state->fresh_size) != 0) {
#define RESET_NONE(name) reset(request, state->at.request.name, Py_None);
#define RESET_TRUE(name) reset(request, state->at.request.name, Py_True);
#define RESET_FALSE(name) reset(request, state->at.request.name, Py_False);
        NONES(RESET_NONE)
        TRUES(RESET_TRUE)
        FALSES(RESET_FALSE)
        reset(request, state->at.request.stage, state->running);
    }
    return Py_REFCNT(request) == 1; /* clearing may have run code that has found it */
}

/* -- The type ---------------------------------------------------------------------------------------- */

static void dealloc(PyObject *request);

/* What a request has besides slots stands at the end of what this module has made of it. */
static jp_extras *extras_at_end(PyTypeObject *made, PyObject *request)
{
    return (jp_extras *)((char *)request + made->tp_basicsize - sizeof(jp_extras));
}

static int clear(PyObject *request)
{
    PyTypeObject *made = jp_made_here(request, dealloc);
    jp_extras *extras = extras_at_end(made, request);
    jp_drop_octets(extras);
    Py_CLEAR(extras->dict);
    jp_clear_slots(made->tp_base, request);
    return 0;
}

static int traverse(PyObject *request, visitproc visit, void *arg)
{
    PyTypeObject *made = jp_made_here(request, dealloc);
    jp_extras *extras = extras_at_end(made, request);
    Py_VISIT(Py_TYPE(request));
    Py_VISIT(extras->framing);
    Py_VISIT(extras->dict);
    return jp_visit_slots(made->tp_base, request, visit, arg);
}

static void dealloc(PyObject *request)
{
    PyTypeObject *type = Py_TYPE(request);
    PyObject_GC_UnTrack(request);
    Py_TRASHCAN_BEGIN(request, dealloc)
    if (PyType_SUPPORTS_WEAKREFS(type))
        PyObject_ClearWeakRefs(request);
    clear(request);
    type->tp_free(request);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

PyDoc_STRVAR(doc, "A request that decodes its head when it is asked for; see japronto.pure.request.");

int jp_make_request_type(PyObject *module, jp_state *state)
{
    PyTypeObject *base = (PyTypeObject *)state->request_type;
    state->extras = (base->tp_basicsize + 7) / 8 * 8;
    PyMemberDef members[] = {
        {"__dictoffset__", T_PYSSIZET, state->extras + (Py_ssize_t)offsetof(jp_extras, dict), READONLY, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    const PyGetSetDef getset[JP_REQUEST_GETSET] = {
        {"head", get_head, set_head, "The request line and the header section.", state},
        {"method", get_method, NULL, "The method, case-sensitive (RFC 9110 s.9.1).", state},
        {"path", get_path, NULL, "The path, percent-decoded once.", state},
        {"body", get_body, NULL, "The whole content; None when the request has none.", state},
        {"match_dict", get_match_dict, NULL, "The values of the placeholders of the route.", state},
        {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    memcpy(state->request_getset, getset, sizeof getset); /* the class does not copy them */
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)doc},
        {Py_tp_members, members},
        {Py_tp_getset, state->request_getset},
        {Py_tp_dealloc, dealloc},
        {Py_tp_traverse, traverse},
        {Py_tp_clear, clear},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "japronto.accel._lane.Request",
        .basicsize = (int)(state->extras + (Py_ssize_t)sizeof(jp_extras)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    PyObject *made = PyType_FromModuleAndSpec(module, &spec, state->request_type);
    state->fast_request = (PyTypeObject *)made;
    if (!made || PyObject_SetAttrString(made, "Response", (PyObject *)state->fast_response) < 0)
        return -1;
    return remember_fresh(state);
}
