/* The module japronto.accel._lane: set up once, by japronto/backend.py, with what it needs of the
 * reference.  All that it knows is in its state, so that each interpreter has a module of its own. */
#include "lane.h"

#ifndef JP_SOURCES /* setup.py has the digest of the sources; see sources.py */
#define JP_SOURCES ""
#endif

/* Where a slot of a class stands in its objects. */
static int find_offset(PyObject *class, const char *name, Py_ssize_t *offset)
{
    PyObject *descriptor = PyObject_GetAttrString(class, name);
    if (!descriptor)
        return -1;
    bool is_slot = Py_IS_TYPE(descriptor, &PyMemberDescr_Type) &&
                   ((PyMemberDescrObject *)descriptor)->d_member->type == T_OBJECT_EX;
    if (is_slot)
        *offset = ((PyMemberDescrObject *)descriptor)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%s of %R is not a slot", name, class);
    Py_DECREF(descriptor);
    return is_slot ? 0 : -1;
}

/* Take a part out of the dict that setup() is given. */
static int take(PyObject *parts, const char *name, PyObject **part)
{
    PyObject *found = PyDict_GetItemString(parts, name);
    if (!found) {
        PyErr_Format(PyExc_KeyError, "%s", name);
        return -1;
    }
    Py_XSETREF(*part, Py_NewRef(found));
    return 0;
}

static int take_parts(jp_state *state, PyObject *parts)
{
#define TAKE(name) if (take(parts, #name, &state->name) < 0) return -1;
    JP_PARTS(TAKE)
#undef TAKE
#define TAKE(class, SLOTS) if (take(parts, #class "_type", &state->class##_type) < 0) return -1; \
    if (!PyType_Check(state->class##_type)) { PyErr_SetString(PyExc_TypeError, #class "_type must be a class"); return -1; }
    JP_CLASSES(TAKE)
#undef TAKE
    state->large_octets = PyLong_AsSsize_t(state->large);
    if (state->large_octets == -1 && PyErr_Occurred())
        return -1;
    if (!PyTuple_CheckExact(state->status_lines) || PyTuple_GET_SIZE(state->status_lines) != 400) {
        PyErr_SetString(PyExc_TypeError, "status_lines must be a tuple of 400 bytes");
        return -1;
    }
    for (Py_ssize_t i = 0; i < 400; i++)
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(state->status_lines, i))) {
            PyErr_SetString(PyExc_TypeError, "status_lines must be a tuple of 400 bytes");
            return -1;
        }
    return 0;
}

#define FIND(name) if (find_offset(class, #name, &at->name) < 0) return -1;
#define DEFINE_FIND(class_name, SLOTS) \
    static int find_##class_name(jp_state *state) \
    { \
        PyObject *class = state->class_name##_type; \
        __typeof__(state->at.class_name) *at = &state->at.class_name; \
        SLOTS(FIND) \
        return 0; \
    }
JP_CLASSES(DEFINE_FIND)

static int find_offsets(jp_state *state)
{
#define CALL_FIND(class_name, SLOTS) if (find_##class_name(state) < 0) return -1;
    JP_CLASSES(CALL_FIND)
    return 0;
}

PyDoc_STRVAR(setup_doc, "setup(parts)\n--\n\n"
"Take what is needed of the reference: a dict, whose keys are in csrc/lane.h.  Can be called once.\n\n"
"Returns (Request, Response, Protocol, Lane).");

static int module_clear(PyObject *module);

static PyObject *setup(PyObject *module, PyObject *parts)
{
    jp_state *state = PyModule_GetState(module);
    if (state->lane_type) {
        PyErr_SetString(PyExc_RuntimeError, "the module was set up already");
        return NULL;
    }
    if (!PyDict_Check(parts)) {
        PyErr_SetString(PyExc_TypeError, "setup() takes a dict");
        return NULL;
    }
    if (take_parts(state, parts) < 0 || find_offsets(state) < 0 ||
        jp_make_response_type(module, state) < 0 || jp_make_request_type(module, state) < 0 ||
        jp_make_lane_type(module, state) < 0 || jp_make_protocol_type(module, state) < 0) {
        module_clear(module); /* so that it can be tried again */
        return NULL;
    }
    return PyTuple_Pack(4, state->fast_request, state->fast_response, state->fast_protocol, state->lane_type);
}

/* -- The module -------------------------------------------------------------------------------------- */

static PyObject **constant(jp_state *state, int number, const char **text)
{
    const struct { PyObject **place; const char *text; } constants[] = {
        {&state->text_name, "text"}, {&state->json_name, "json"}, {&state->body_name, "body"},
        {&state->code_name, "code"}, {&state->init_name, "__init__"},
        {&state->encode_json_name, "encode_json"}, {&state->cancelling_name, "cancelling"},
        {&state->mime_type_name, "mime_type"}, {&state->headers_name, "headers"},
        {&state->write_name, "write"}, {&state->carry_on_name, "_carry_on"},
        {&state->get_name_name, "get_name"}, {&state->callbacks_name, "_callbacks"},
        {&state->methods[0], "GET"}, {&state->methods[1], "POST"}, {&state->methods[2], "PUT"},
        {&state->methods[3], "PATCH"}, {&state->methods[4], "DELETE"},
    };
    if ((size_t)number >= sizeof constants / sizeof *constants)
        return NULL;
    *text = constants[number].text;
    return constants[number].place;
}

static int execute(PyObject *module)
{
    jp_state *state = PyModule_GetState(module);
    const char *text;
    PyObject **place;
    for (int i = 0; (place = constant(state, i, &text)); i++) {
        *place = PyUnicode_InternFromString(text);
        if (!*place)
            return -1;
    }
    state->one = PyLong_FromLong(1);
    state->ok = PyLong_FromLong(200);
    state->no_octets = PyBytes_FromStringAndSize(NULL, 0);
    state->text_types = PyDict_New();
    state->other_types = PyDict_New();
    if (!state->one || !state->ok || !state->no_octets || !state->text_types || !state->other_types)
        return -1;
    return PyModule_AddStringConstant(module, "sources", JP_SOURCES);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    jp_state *state = PyModule_GetState(module);
#define VISIT_PART(name) Py_VISIT(state->name);
    JP_PARTS(VISIT_PART)
#define VISIT_TYPE(class, SLOTS) Py_VISIT(state->class##_type);
    JP_CLASSES(VISIT_TYPE)
    Py_VISIT(state->fast_request);
    Py_VISIT(state->fast_response);
    Py_VISIT(state->fast_protocol);
    Py_VISIT(state->lane_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    jp_state *state = PyModule_GetState(module);
    Py_CLEAR(state->fast_request);
    Py_CLEAR(state->fast_response);
    Py_CLEAR(state->fast_protocol);
    Py_CLEAR(state->lane_type);
    jp_free_responses(state);
    PyMem_Free(state->fresh);
    state->fresh = NULL;
    return 0;
}

/* What objects of the module's classes need to the last: they hold the module. */
static void module_free(void *module)
{
    jp_state *state = PyModule_GetState(module);
    module_clear(module);
#define CLEAR_PART(name) Py_CLEAR(state->name);
    JP_PARTS(CLEAR_PART)
#define CLEAR_TYPE(class, SLOTS) Py_CLEAR(state->class##_type);
    JP_CLASSES(CLEAR_TYPE)
    const char *text;
    PyObject **place;
    for (int i = 0; (place = constant(state, i, &text)); i++)
        Py_CLEAR(*place);
    Py_CLEAR(state->text_types);
    Py_CLEAR(state->other_types);
    Py_CLEAR(state->one);
    Py_CLEAR(state->ok);
    Py_CLEAR(state->no_octets);
}

static PyMethodDef functions[] = {
    {"setup", setup, METH_O, setup_doc},
    {"assemble", (PyCFunction)(void (*)(void))jp_assemble, METH_FASTCALL,
     PyDoc_STR("assemble(answered, date)\n--\n\nThe octets of consecutive answers; see interfaces.Assemble.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef jp_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "japronto.accel._lane",
    .m_doc = PyDoc_STR("The parts of the reference that every request goes through, in C."),
    .m_size = sizeof(jp_state),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__lane(void);

PyMODINIT_FUNC PyInit__lane(void)
{
    return PyModuleDef_Init(&jp_module);
}
