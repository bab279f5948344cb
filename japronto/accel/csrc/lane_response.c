/* Response: the common ways to call it.
 *
 * Text, JSON or bytes, with or without a status code, a media type and fields, are made into a response
 * here; any other call goes to __init__ of the reference.  What is in the slots afterwards is the same. */
#include "lane.h"

/* The arguments of a call, borrowed references; NULL for those that were not given. */
typedef struct {
    PyObject *code, *text, *json, *body, *mime_type, *headers;
} call;

/* Whether a call is of a common kind, so far as its names go. */
static bool understand(const jp_state *state, PyObject *const *args, Py_ssize_t positional, PyObject *names,
                       call *given)
{
    if (positional > 1 || !names)
        return false;
    *given = (call){.code = positional ? args[0] : state->ok};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i), *value = args[positional + i];
        if (name == state->text_name)
            given->text = value;
        else if (name == state->json_name)
            given->json = value;
        else if (name == state->body_name)
            given->body = value;
        else if (name == state->mime_type_name)
            given->mime_type = value == Py_None ? NULL : value;
        else if (name == state->headers_name)
            given->headers = value == Py_None ? NULL : value;
        else if (name == state->code_name && !positional)
            given->code = value;
        else
            return false;
    }
    return (given->text != NULL) + (given->json != NULL) + (given->body != NULL) == 1;
}

static bool is_code(const jp_state *state, PyObject *code)
{
    if (code == state->ok)
        return true;
    if (!PyLong_CheckExact(code))
        return false;
    int overflow;
    long number = PyLong_AsLongAndOverflow(code, &overflow);
    return !overflow && number >= 200 && number <= 599;
}

static PyObject *utf8(PyObject *text)
{
    if (PyUnicode_IS_ASCII(text))
        return PyBytes_FromStringAndSize((const char *)PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text));
    return PyUnicode_AsUTF8String(text);
}

/* The octets of a value as JSON, by whatever encoder the class has. */
static PyObject *encoded(const jp_state *state, PyObject *type, PyObject *value)
{
    PyObject *args[2] = {type, value};
    PyObject *text = PyObject_VectorcallMethod(state->encode_json_name, args,
                                               2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (!text || PyBytes_Check(text))
        return text;
    PyObject *made = PyUnicode_CheckExact(text) && PyUnicode_IS_ASCII(text)
                         ? utf8(text) : PyObject_CallFunction(state->encode_text, "Os", text, "utf-8");
    Py_DECREF(text);
    return made;
}

/* What a response is made of, new references but for the code. */
typedef struct {
    PyObject *body, *content_type, *fields;
} parts;

static void drop(parts *made)
{
    Py_CLEAR(made->body);
    Py_CLEAR(made->content_type);
    Py_CLEAR(made->fields);
}

/* The value of Content-Type, a borrowed reference; NULL when the content is of no common kind, or when the
 * reference must look at the media type. */
static PyObject *content_type_of(const jp_state *state, const call *given)
{
    PyObject *usual = NULL;
    if (given->text && PyUnicode_CheckExact(given->text))
        usual = state->text_type;
    else if (given->body && PyBytes_CheckExact(given->body))
        usual = state->octets_type;
    else if (given->json && given->json != Py_None)
        usual = state->json_type;
    return usual && given->mime_type ? jp_content_type(state, given->mime_type, given->text != NULL) : usual;
}

/* Make the parts of a response; false when __init__ must do it.
 *
 * JSON is encoded last, when it is certain that nobody will do so again: the value may be used up by it, or
 * the encoder count its calls.  When it fails, so it does for __init__: *failed gets true. */
static bool take_parts(const jp_state *state, PyObject *type, const call *given, parts *made, bool *failed)
{
    *made = (parts){NULL, NULL, NULL};
    made->content_type = Py_XNewRef(content_type_of(state, given));
    if (made->content_type)
        made->fields = given->headers ? jp_make_fields(state, given->headers) : Py_NewRef(Py_None);
    if (made->fields && given->text)
        made->body = utf8(given->text);
    else if (made->fields && given->body)
        made->body = Py_NewRef(given->body);
    else if (made->fields)
        *failed = !(made->body = encoded(state, type, given->json));
    if (!made->body)
        drop(made);
    return made->body != NULL;
}

/* The slots that are None in a response of a common kind.  A spare one keeps them so. */
#define NONES(X) X(_cookies) X(_headers) X(_stream) X(_upgrade)

/* A response in which all but code, body and content_type is set; those may hold something, or not. */
static PyObject *allocate(jp_state *state)
{
    PyObject *response;
    if (state->spare_count) {
        response = state->spare_responses[--state->spare_count];
        PyObject_Init(response, state->fast_response);
        PyObject_GC_Track(response);
        return response;
    }
    response = jp_new((PyObject *)state->fast_response);
    if (response) {
#define TO_NONE(name) *jp_slot(response, state->at.response.name) = Py_NewRef(Py_None);
        NONES(TO_NONE)
    }
    return response;
}

/* Put a value into a slot that may hold it already, as it does in most spare responses. */
static inline void set(PyObject *response, Py_ssize_t offset, PyObject *value)
{
    if (*jp_slot(response, offset) != value)
        jp_put(response, offset, Py_NewRef(value));
}

/* What __init__ of the reference makes of a call. */
static PyObject *call_init(jp_state *state, PyObject *const *args, Py_ssize_t positional, PyObject *names)
{
    enum { ARGUMENTS_MAX = 16 }; /* more than __init__ takes, so that it says what is wrong */
    PyObject *stack[1 + ARGUMENTS_MAX];
    Py_ssize_t count = positional + (names ? PyTuple_GET_SIZE(names) : 0);
    if (count > ARGUMENTS_MAX) {
        PyErr_SetString(PyExc_TypeError, "Response() takes at most nine arguments");
        return NULL;
    }
    PyObject *response = jp_new((PyObject *)state->fast_response);
    if (!response)
        return NULL;
    stack[0] = response;
    for (Py_ssize_t i = 0; i < count; i++)
        stack[1 + i] = args[i];
    PyObject *result = PyObject_VectorcallMethod(state->init_name, stack, (size_t)(positional + 1), names);
    if (!result)
        Py_CLEAR(response);
    Py_XDECREF(result);
    return response;
}

static PyObject *call_type(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    jp_state *state = PyType_GetModuleState((PyTypeObject *)type);
    Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    call given;
    parts made;
    bool failed = false;
    if (!understand(state, args, positional, names, &given) || !is_code(state, given.code) ||
        !take_parts(state, type, &given, &made, &failed)) {
        if (failed || (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)))
            return NULL;
        PyErr_Clear(); /* what is wrong, the reference says */
        return call_init(state, args, positional, names);
    }
    PyObject *response = allocate(state);
    if (!response) {
        drop(&made);
        return NULL;
    }
    set(response, state->at.response._code, given.code);
    jp_put(response, state->at.response._content_type, made.content_type);
    jp_put(response, state->at.response._headers, made.fields);
    *jp_slot(response, state->at.response._body) = made.body; /* of a spare response it is NULL */
    return response;
}

/* -- The type ---------------------------------------------------------------------------------------- */

static void dealloc(PyObject *response);

static int clear(PyObject *response)
{
    jp_clear_slots(jp_made_here(response, dealloc)->tp_base, response);
    return 0;
}

static int traverse(PyObject *response, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(response));
    return jp_visit_slots(jp_made_here(response, dealloc)->tp_base, response, visit, arg);
}

/* Whether nothing is in a response that may hold another one, which holds another one, and so on: what is
 * in the list of its fields limits by itself how deep the stack gets. */
static bool is_flat(const jp_state *state, PyObject *response)
{
    PyObject *body = *jp_slot(response, state->at.response._body);
#define IS_NONE(name) *jp_slot(response, state->at.response.name) == Py_None
    return (!body || PyBytes_CheckExact(body)) && IS_NONE(_cookies) && IS_NONE(_stream) && IS_NONE(_upgrade);
#undef IS_NONE
}

/* Keep the memory of a response that is flat for the next one, which costs less than giving it back. */
static void keep(jp_state *state, PyObject *response)
{
    Py_CLEAR(*jp_slot(response, state->at.response._body));
    set(response, state->at.response._headers, Py_None);
    if (state->spare_count < JP_SPARE_RESPONSES) { /* what was let go of may have been a response, too */
        state->spare_responses[state->spare_count++] = response;
    } else {
        clear(response);
        PyObject_GC_Del(response);
    }
}

static void dealloc(PyObject *response)
{
    PyTypeObject *type = Py_TYPE(response);
    PyObject *module = type->tp_dealloc == dealloc ? ((PyHeapTypeObject *)type)->ht_module : NULL;
    jp_state *state = module ? PyModule_GetState(module) : NULL;
    PyObject_GC_UnTrack(response);
    if (state && type == state->fast_response && state->spare_count < JP_SPARE_RESPONSES &&
        is_flat(state, response)) {
        keep(state, response);
        Py_DECREF(type);
        return;
    }
    Py_TRASHCAN_BEGIN(response, dealloc)
    clear(response);
    type->tp_free(response);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

void jp_free_responses(jp_state *state)
{
    while (state->spare_count) {
        PyObject *response = state->spare_responses[--state->spare_count];
        Py_SET_TYPE(response, (PyTypeObject *)state->response_type); /* its own may be gone already */
        jp_clear_slots((PyTypeObject *)state->response_type, response);
        PyObject_GC_Del(response);
    }
}

PyDoc_STRVAR(doc, "A response whose common forms are made in C; see japronto.pure.response.");

int jp_make_response_type(PyObject *module, jp_state *state)
{
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)doc},
        {Py_tp_dealloc, dealloc},
        {Py_tp_traverse, traverse},
        {Py_tp_clear, clear},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "japronto.accel._lane.Response",
        .basicsize = (int)((PyTypeObject *)state->response_type)->tp_basicsize,
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    state->fast_response = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, state->response_type);
    if (!state->fast_response)
        return -1;
    state->fast_response->tp_vectorcall = call_type; /* subclasses do not inherit it */
    return 0;
}
