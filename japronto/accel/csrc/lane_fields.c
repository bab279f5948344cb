/* The fields and the media type that a handler gives to a Response: pure/response.py, for those that are
 * str and need no conversion. */
#include "lane.h"
#include "scan_parts.h"

static bool consists_of(PyObject *text, enum jp_octet set)
{
    if (!PyUnicode_CheckExact(text) || PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND)
        return false;
    const uint8_t *octets = PyUnicode_1BYTE_DATA(text);
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(text); i++)
        if (!(jp_octets[octets[i]] & set))
            return false;
    return true;
}

/* Put one more line, if name and value can stand in it; false without an error if they cannot. */
static bool add_line(PyObject *lines, PyObject *name, PyObject *value)
{
    if (!consists_of(name, JP_TOKEN) || !PyUnicode_GET_LENGTH(name) || !consists_of(value, JP_VALUE))
        return false;
    PyObject *line = PyTuple_Pack(2, name, value);
    bool added = line && PyList_Append(lines, line) == 0;
    Py_XDECREF(line);
    return added;
}

/* To make a line may start the collector, and what that runs may change what is being read here: so what
 * was taken out of it is held, and a dict that has changed is left to the reference. */

static bool add_items(PyObject *lines, PyObject *fields)
{
    PyObject *name, *value;
    Py_ssize_t at = 0, size = PyDict_GET_SIZE(fields);
    bool added = true;
    while (added && PyDict_Next(fields, &at, &name, &value)) {
        Py_INCREF(name);
        Py_INCREF(value);
        added = add_line(lines, name, value) && PyDict_GET_SIZE(fields) == size;
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return added;
}

static bool add_pairs(PyObject *lines, PyObject *fields)
{
    bool added = true;
    for (Py_ssize_t i = 0; added && i < PyList_GET_SIZE(fields); i++) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(fields, i));
        added = PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 &&
                add_line(lines, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        Py_DECREF(pair);
    }
    return added;
}

static bool add_all(PyObject *lines, PyObject *fields)
{
    if (PyDict_CheckExact(fields))
        return add_items(lines, fields);
    return PyList_CheckExact(fields) && add_pairs(lines, fields);
}

PyObject *jp_make_fields(const jp_state *state, PyObject *fields)
{
    PyObject *lines = PyList_New(0);
    PyObject *made = lines && add_all(lines, fields) ? jp_new(state->headers_type) : NULL;
    if (made)
        *jp_slot(made, state->at.headers.lines) = lines;
    else
        Py_XDECREF(lines);
    return made;
}

/* The value of Content-Type for a media type, a borrowed reference.  The reference makes it, once for each
 * media type: a program has few of them. */
PyObject *jp_content_type(const jp_state *state, PyObject *mime_type, bool text)
{
    enum { REMEMBERED = 64 };
    PyObject *known = text ? state->text_types : state->other_types;
    if (!PyUnicode_CheckExact(mime_type))
        return NULL;
    PyObject *found = PyDict_GetItemWithError(known, mime_type);
    if (found || PyErr_Occurred())
        return found;
    PyObject *made = PyObject_CallFunction(state->content_type, "Oz", mime_type, text ? "utf-8" : NULL);
    if (!made || !PyBytes_CheckExact(made)) {
        Py_XDECREF(made);
        return NULL;
    }
    if (PyDict_GET_SIZE(known) >= REMEMBERED)
        PyDict_Clear(known);
    int set = PyDict_SetItem(known, mime_type, made);
    Py_DECREF(made);
    return set < 0 ? NULL : made; /* known holds it */
}
