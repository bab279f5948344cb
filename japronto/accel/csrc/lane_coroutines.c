/* The first step of a handler that is async: japronto/tasks.py: Runner.run, for a coroutine that ends
 * there.
 *
 * A handler that does not wait costs neither a task nor a call of Python code.  One that waits is handed
 * back, for its driver to adopt. */
#include "lane.h"

void jp_drop_driver(jp_driver *driver)
{
    Py_CLEAR(driver->driver);
    Py_CLEAR(driver->loop);
}

/* How many weak references there are to an object; what weakref.getweakrefcount() counts. */
static Py_ssize_t weak_references(PyObject *object)
{
    Py_ssize_t count = 0;
    PyObject *next = *PyObject_GET_WEAKREFS_LISTPTR(object);
    for (; next; next = (PyObject *)((PyWeakReference *)next)->wr_next)
        count++;
    return count;
}

/* The task of a driver.  The driver alone holds it: a reference of our own would look like a trace
 * that a coroutine has left. */
static PyObject *task_of(const jp_state *state, const jp_driver *driver)
{
    return *jp_slot(driver->driver, state->at.driver.task);
}

/* Borrow the driver of the runner. */
static bool borrow(const jp_state *state, jp_driver *driver, PyObject *runner)
{
    jp_drop_driver(driver);
    driver->driver = PyObject_CallMethod(runner, "driver", NULL);
    driver->loop = PyObject_GetAttrString(runner, "loop");
    if (!driver->driver || !driver->loop)
        return false;
    if ((PyObject *)Py_TYPE(driver->driver) != state->driver_type || !task_of(state, driver) ||
        !PyType_SUPPORTS_WEAKREFS(Py_TYPE(task_of(state, driver)))) {
        PyErr_SetString(PyExc_TypeError, "the runner has lent something that is not a driver");
        return false;
    }
    driver->references = Py_REFCNT(task_of(state, driver));
    driver->weak_references = weak_references(task_of(state, driver));
    return true;
}

/* Whether the driver that was borrowed can still be used; the general path may have taken it meanwhile. */
static bool is_there(const jp_state *state, const jp_driver *driver)
{
    return driver->driver && *jp_slot(driver->driver, state->at.driver.over) == Py_False &&
           *jp_slot(driver->driver, state->at.driver._coroutine) == Py_None;
}

/* Whether what somebody has said is true; also when he could not say it. */
static bool is_true(PyObject *said)
{
    bool truth = !said || PyObject_IsTrue(said) != 0;
    Py_XDECREF(said);
    return truth;
}

/* Whether a coroutine has left traces in the driver, or that could not be said, and an exception may be
 * set; see Driver.used(). */
static bool is_used(const jp_state *state, const jp_driver *driver)
{
    PyObject *task = task_of(state, driver);
    if (!task || Py_REFCNT(task) > driver->references || weak_references(task) > driver->weak_references)
        return true;
    if (PyObject_RichCompareBool(*jp_slot(driver->driver, state->at.driver.context),
                                 *jp_slot(driver->driver, state->at.driver._snapshot), Py_EQ) != 1)
        return true;
    task = Py_XNewRef(task_of(state, driver)); /* what was compared may have closed the runner */
    if (!task)
        return true;
    PyObject *name = PyObject_CallMethodNoArgs(task, state->get_name_name);
    bool renamed = name != *jp_slot(driver->driver, state->at.driver._name);
    Py_XDECREF(name);
    bool used = renamed || is_true(PyObject_GetAttr(task, state->callbacks_name)) ||
                is_true(PyObject_CallMethodNoArgs(task, state->cancelling_name));
    Py_DECREF(task);
    return used;
}

/* Enter the task of the driver, or leave it. */
static bool switch_task(PyObject *function, const jp_driver *driver, PyObject *task)
{
    PyObject *args[] = {driver->loop, task};
    PyObject *result = PyObject_Vectorcall(function, args, 2, NULL);
    Py_XDECREF(result);
    return result != NULL;
}

/* Send None to a coroutine, in the context of the driver. */
static PySendResult send(const jp_state *state, const jp_driver *driver, PyObject *coroutine, PyObject **result)
{
    PyObject *context = *jp_slot(driver->driver, state->at.driver.context);
    if (PyContext_Enter(context) < 0)
        return PYGEN_ERROR;
    PySendResult sent = PyIter_Send(coroutine, Py_None, result);
    if (sent == PYGEN_ERROR) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyContext_Exit(context);
        PyErr_Restore(type, value, traceback);
    } else if (PyContext_Exit(context) < 0) {
        Py_CLEAR(*result);
        sent = PYGEN_ERROR;
    }
    return sent;
}

/* Give the driver back, used up. */
static void close_driver(jp_driver *driver, PyObject *runner)
{
    PyObject *type, *value, *traceback; /* what the coroutine has raised stays */
    PyErr_Fetch(&type, &value, &traceback);
    jp_drop_driver(driver);
    PyObject *result = PyObject_CallMethod(runner, "drop", NULL);
    if (!result)
        PyErr_WriteUnraisable(runner);
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

/* Take the step on behalf of the task of the driver. */
static jp_step take_step(const jp_state *state, const jp_driver *driver, PyObject *coroutine, PyObject **result)
{
    PyObject *task = Py_NewRef(task_of(state, driver)); /* the coroutine may close the runner */
    if (!switch_task(state->enter_task, driver, task)) {
        Py_DECREF(task);
        PyErr_Clear(); /* There can be only one current task. */
        return JP_STEP_NOT_NOW;
    }
    PySendResult sent = send(state, driver, coroutine, result);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!switch_task(state->leave_task, driver, task))
        PyErr_WriteUnraisable(coroutine); /* cannot be: it was entered above */
    PyErr_Restore(type, value, traceback);
    Py_DECREF(task); /* held any longer, it would look as if the coroutine had kept it */
    return sent == PYGEN_ERROR ? JP_STEP_FAILED : sent == PYGEN_NEXT ? JP_STEP_WAITS : JP_STEP_RETURNED;
}

jp_step jp_first_step(const jp_state *state, jp_driver *driver, PyObject *runner, PyObject *coroutine,
                      PyObject **result)
{
    *result = NULL;
    if (!is_there(state, driver) && !borrow(state, driver, runner)) {
        jp_drop_driver(driver); /* there may be half of it */
        return JP_STEP_FAILED;
    }
    jp_step step = take_step(state, driver, coroutine, result);
    if (step == JP_STEP_NOT_NOW || step == JP_STEP_WAITS) {
        jp_drop_driver(driver);
    } else if (step == JP_STEP_FAILED || is_used(state, driver)) {
        if (step == JP_STEP_RETURNED && PyErr_Occurred()) {
            if (PyErr_ExceptionMatches(PyExc_Exception)) {
                PyErr_Clear();
            } else {
                Py_CLEAR(*result);
                step = JP_STEP_FAILED;
            }
        }
        close_driver(driver, runner);
    }
    return step;
}
