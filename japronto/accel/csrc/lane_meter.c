/* What the lane counts, into the row of its process; see japronto/board.py for how that is laid out.
 *
 * The requests of a batch came together and their answers leave together, so each of them has taken as long as
 * the batch: two looks at the clock do for all. */
#define _POSIX_C_SOURCE 200809L
#include "lane.h"

#include <time.h>

enum { BOUNDS = 32, CODES = 1000 };

struct jp_meter {
    Py_buffer row;
    double *cells;
    Py_ssize_t requests, statuses; /* where those of a method start, and how many there are */
    Py_ssize_t received, sent, lane, seconds, buckets;
    size_t bound_count;
    double bounds[BOUNDS];
    uint8_t status[CODES]; /* which of the statuses a code is */
    uint8_t ok;            /* which 200 is */
    size_t served;         /* since the batch has begun */
    struct timespec begun;
};

/* Whether a cell, or so many of them, are in the row. */
static bool has(const jp_meter *meter, Py_ssize_t at, Py_ssize_t count)
{
    Py_ssize_t cells = meter->row.len / (Py_ssize_t)sizeof(double);
    return at >= 0 && count >= 0 && at <= cells && count <= cells - at;
}

static bool take_bounds(jp_meter *meter, PyObject *bounds)
{
    if (PyTuple_GET_SIZE(bounds) > BOUNDS)
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(bounds); i++)
        meter->bounds[meter->bound_count++] = PyFloat_AsDouble(PyTuple_GET_ITEM(bounds, i));
    return !PyErr_Occurred();
}

static bool is_sound(const jp_meter *meter)
{
    for (size_t i = 0; i < CODES; i++)
        if (meter->status[i] >= meter->statuses)
            return false;
    return has(meter, meter->requests, JP_METHODS * meter->statuses) && has(meter, meter->received, 1) &&
           has(meter, meter->sent, 1) && has(meter, meter->lane, 1) && has(meter, meter->seconds, 1) &&
           has(meter, meter->buckets, (Py_ssize_t)meter->bound_count + 1);
}

jp_meter *jp_make_meter(PyObject *args)
{
    jp_meter *meter = PyMem_Calloc(1, sizeof *meter);
    PyObject *row, *bounds;
    Py_buffer status;
    if (!meter) {
        PyErr_NoMemory();
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "Oy*nnnnnnnO!", &row, &status, &meter->requests, &meter->statuses,
                          &meter->received, &meter->sent, &meter->lane, &meter->seconds, &meter->buckets,
                          &PyTuple_Type, &bounds)) {
        PyMem_Free(meter);
        return NULL;
    }
    bool sound = status.len == CODES && meter->statuses > 0 && meter->statuses < 256;
    if (sound)
        memcpy(meter->status, status.buf, CODES);
    PyBuffer_Release(&status);
    if (PyObject_GetBuffer(row, &meter->row, PyBUF_WRITABLE) < 0) {
        PyMem_Free(meter);
        return NULL;
    }
    meter->cells = meter->row.buf;
    meter->ok = meter->status[200];
    if (!sound || !take_bounds(meter, bounds) || !is_sound(meter)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the cells are not in the row");
        jp_free_meter(meter);
        return NULL;
    }
    return meter;
}

void jp_free_meter(jp_meter *meter)
{
    if (!meter)
        return;
    PyBuffer_Release(&meter->row);
    PyMem_Free(meter);
}

void jp_meter_received(jp_meter *meter, size_t octets)
{
    meter->cells[meter->received] += (double)octets;
}

double jp_meter_elapsed(const jp_meter *meter)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - meter->begun.tv_sec) + 1e-9 * (double)(now.tv_nsec - meter->begun.tv_nsec);
}

void jp_meter_begin(jp_meter *meter)
{
    meter->served = 0;
    clock_gettime(CLOCK_MONOTONIC, &meter->begun);
}

void jp_meter_answer(jp_meter *meter, const jp_state *state, int method, PyObject *code)
{
    uint8_t status = meter->ok;
    if (code != state->ok) {
        long number = PyLong_AsLong(code); /* that it is one, is known of an answer that was appended */
        status = meter->status[number >= 0 && number < CODES ? number : 0];
    }
    meter->cells[meter->requests + method * meter->statuses + status]++;
    meter->served++;
}

void jp_meter_end(jp_meter *meter, size_t sent)
{
    if (!meter->served)
        return;
    double seconds = jp_meter_elapsed(meter), served = (double)meter->served;
    size_t bucket = 0;
    while (bucket < meter->bound_count && seconds > meter->bounds[bucket])
        bucket++;
    meter->cells[meter->buckets + (Py_ssize_t)bucket] += served;
    meter->cells[meter->seconds] += served * seconds;
    meter->cells[meter->lane] += served;
    meter->cells[meter->sent] += (double)sent;
}
