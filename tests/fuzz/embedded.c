/* What libFuzzer calls, for the targets that are written in Python: fuzz_lane.py and fuzz_response.py.
 *
 * The interpreter is embedded, and japronto.accel._lane is linked into it, so that the C which is watched
 * for coverage and by the sanitizers is the one that Python uses.  TARGET names the module whose function
 * one() is called with each input; what it raises is a finding. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>

PyMODINIT_FUNC PyInit__lane(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        if (PyErr_Occurred())
            PyErr_Print();
        abort();
    }
}

/* Start the interpreter that JAPRONTO_PYTHON names, with the packages that it has. */
static void start(void)
{
    const char *python = getenv("JAPRONTO_PYTHON");
    require(python != NULL, "JAPRONTO_PYTHON must name an interpreter");
    PyPreConfig early;
    PyPreConfig_InitPythonConfig(&early);
    early.allocator = PYMEM_ALLOCATOR_MALLOC; /* else AddressSanitizer sees nothing of small objects */
    require(!PyStatus_Exception(Py_PreInitialize(&early)), "Python cannot be started");
    require(PyImport_AppendInittab("japronto.accel._lane", PyInit__lane) == 0, "there is no memory");
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0; /* they are libFuzzer's */
    require(!PyStatus_Exception(PyConfig_SetBytesString(&config, &config.program_name, python)) &&
            !PyStatus_Exception(Py_InitializeFromConfig(&config)), "Python cannot be started");
    PyConfig_Clear(&config);
}

static PyObject *target(void)
{
    start();
    PyObject *module = PyImport_ImportModule(TARGET);
    require(module != NULL, "the target cannot be imported");
    PyObject *one = PyObject_GetAttrString(module, "one");
    require(one != NULL, "the target has no one()");
    Py_DECREF(module);
    return one;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static PyObject *one;
    if (!one)
        one = target();
    PyObject *octets = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    require(octets != NULL, "there is no memory");
    PyObject *done = PyObject_CallOneArg(one, octets);
    require(done != NULL, "a finding");
    Py_DECREF(done);
    Py_DECREF(octets);
    return 0;
}
