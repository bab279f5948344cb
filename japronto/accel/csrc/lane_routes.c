/* The tree of patterns: japronto/routing.py: Matcher, for paths without percent-encoding.
 *
 * The tree is the same: one level for each segment, and of all routes that match, the one registered
 * first is taken.  Here the walk is a recursion.  It visits a node at most once, as nodes of one level
 * have different parents, and it is as deep as the deepest pattern. */
#include "lane.h"

/* The kinds of segments; see routing.KINDS. */
typedef enum { LITERAL, STR, INT, UUID, PATH, KINDS } kind;

static const char *const kind_names[KINDS] = {"literal", "str", "int", "uuid", "path"};

enum { DEPTH_MAX = 64, INT_DIGITS_MAX = 640 };

typedef struct node node;

typedef struct {
    char *literal; /* the segment, or the text ahead of its placeholder */
    size_t size;
    kind kind;
    node *node;    /* where it leads to; NULL of PATH, which ends the pattern */
    size_t route;  /* of PATH: whose pattern it ends */
} edge;

struct node {
    edge *edges;
    size_t edge_count;
    size_t *ends; /* routes whose pattern ends here, in their order */
    size_t end_count;
};

/* The value of a placeholder; see routing.Value. */
typedef struct {
    PyObject *name;
    size_t place, skip;
    bool tail;
    PyObject *convert; /* None when the text is the value */
} value;

typedef struct {
    unsigned methods; /* a bit for each that it takes */
    PyObject *target;
    value *values;
    size_t value_count;
} route;

struct jp_routes {
    node root;
    route *routes;
    size_t count;
};

/* -- Laying out -------------------------------------------------------------------------------------- */

/* Make room for one more element; the new one is all zero. */
static void *one_more(void *array_of, size_t *count, size_t size)
{
    void **array = array_of;
    char *grown = PyMem_Realloc(*array, (*count + 1) * size);
    if (!grown)
        return PyErr_NoMemory();
    *array = grown;
    return memset(grown + (*count)++ * size, 0, size);
}

static bool is_edge(const edge *known, kind kind, const char *literal, size_t size)
{
    return known->kind == kind && known->size == size && memcmp(known->literal, literal, size) == 0;
}

/* The edge of a node for a segment, made if there is none; each PATH has its own. */
static edge *edge_for(node *at, kind kind, const char *literal, size_t size)
{
    for (size_t i = 0; kind != PATH && i < at->edge_count; i++)
        if (is_edge(&at->edges[i], kind, literal, size))
            return &at->edges[i];
    char *copy = PyMem_Malloc(size + 1);
    node *leads_to = kind == PATH ? NULL : PyMem_Calloc(1, sizeof *leads_to);
    edge *made = copy && (leads_to || kind == PATH) ? one_more(&at->edges, &at->edge_count, sizeof *made) : NULL;
    if (!made) {
        PyMem_Free(copy);
        PyMem_Free(leads_to);
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(copy, literal, size);
    *made = (edge){.literal = copy, .size = size, .kind = kind, .node = leads_to};
    return made;
}

static bool kind_of(PyObject *name, kind *found)
{
    for (int i = 0; i < KINDS; i++)
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, kind_names[i]) == 0) {
            *found = (kind)i;
            return true;
        }
    PyErr_Format(PyExc_ValueError, "there are no segments of the kind %R", name);
    return false;
}

/* Lay a pattern into the tree: a list of (kind, literal). */
static bool lay(jp_routes *routes, size_t number, PyObject *segments)
{
    node *at = &routes->root;
    Py_ssize_t count = PyList_GET_SIZE(segments);
    if (count > DEPTH_MAX)
        return true; /* never found here, and so left to the reference */
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name, *literal;
        kind kind;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(segments, i), "UU", &name, &literal) || !kind_of(name, &kind))
            return false;
        if (!PyUnicode_IS_ASCII(literal))
            return true; /* nor is this one: a path needs percent-encoding for it */
        edge *edge = edge_for(at, kind, PyUnicode_DATA(literal), (size_t)PyUnicode_GET_LENGTH(literal));
        if (!edge)
            return false;
        if (kind == PATH) {
            edge->route = number;
            return true;
        }
        at = edge->node;
    }
    size_t *end = one_more(&at->ends, &at->end_count, sizeof *end);
    if (end)
        *end = number;
    return end != NULL;
}

/* Take the values of the placeholders of a route: a list of (name, place, skip, tail, convert). */
static bool take_values(route *route, PyObject *values)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(values); i++) {
        value *made = one_more(&route->values, &route->value_count, sizeof *made);
        Py_ssize_t place, skip;
        int tail;
        if (!made || !PyArg_ParseTuple(PyList_GET_ITEM(values, i), "UnnpO", &made->name, &place, &skip, &tail,
                                       &made->convert)) {
            if (made)
                made->name = made->convert = NULL;
            return false;
        }
        made->place = (size_t)place;
        made->skip = (size_t)skip;
        made->tail = tail != 0;
        Py_INCREF(made->name);
        Py_INCREF(made->convert);
    }
    return true;
}

static bool takes_methods(const jp_state *state, route *route, PyObject *methods)
{
    for (int i = 0; i < JP_METHODS; i++) {
        int contains = PySequence_Contains(methods, state->methods[i]);
        if (contains < 0)
            return false;
        route->methods |= (unsigned)contains << i;
    }
    return true;
}

jp_routes *jp_make_routes(const jp_state *state, PyObject *described)
{
    jp_routes *routes = PyMem_Calloc(1, sizeof *routes);
    if (!routes)
        return (jp_routes *)PyErr_NoMemory();
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(described); i++) {
        PyObject *methods, *segments, *values, *target;
        route *made = one_more(&routes->routes, &routes->count, sizeof *made);
        good = made && PyArg_ParseTuple(PyList_GET_ITEM(described, i), "OO!O!O!", &methods, &PyList_Type, &segments,
                                        &PyList_Type, &values, (PyTypeObject *)state->target_type, &target);
        if (good) {
            made->target = Py_NewRef(target);
            good = takes_methods(state, made, methods) && take_values(made, values) &&
                   lay(routes, (size_t)i, segments);
        }
    }
    if (!good) {
        jp_free_routes(routes);
        return NULL;
    }
    return routes;
}

static void free_node(node *at)
{
    for (size_t i = 0; i < at->edge_count; i++) {
        PyMem_Free(at->edges[i].literal);
        if (at->edges[i].node) {
            free_node(at->edges[i].node);
            PyMem_Free(at->edges[i].node);
        }
    }
    PyMem_Free(at->edges);
    PyMem_Free(at->ends);
}

void jp_free_routes(jp_routes *routes)
{
    if (!routes)
        return;
    free_node(&routes->root);
    for (size_t i = 0; i < routes->count; i++) {
        route *route = &routes->routes[i];
        for (size_t j = 0; j < route->value_count; j++) {
            Py_XDECREF(route->values[j].name);
            Py_XDECREF(route->values[j].convert);
        }
        PyMem_Free(route->values);
        Py_XDECREF(route->target);
    }
    PyMem_Free(routes->routes);
    PyMem_Free(routes);
}

int jp_visit_routes(jp_routes *routes, visitproc visit, void *arg)
{
    for (size_t i = 0; routes && i < routes->count; i++) {
        Py_VISIT(routes->routes[i].target);
        for (size_t j = 0; j < routes->routes[i].value_count; j++)
            Py_VISIT(routes->routes[i].values[j].convert);
    }
    return 0;
}

/* -- Finding ----------------------------------------------------------------------------------------- */

static bool is_digit(char octet)
{
    return octet >= '0' && octet <= '9';
}

static bool is_hex(char octet)
{
    return is_digit(octet) || ((octet | 0x20) >= 'a' && (octet | 0x20) <= 'f');
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool is_uuid(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen ? text[i] != '-' : !is_hex(text[i]))
            return false;
    }
    return size == 36;
}

static bool is_int(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!is_digit(text[i]))
            return false;
    return size > 0 && size <= INT_DIGITS_MAX;
}

static bool equal(const char *text, const char *other, size_t size)
{
    for (size_t i = 0; i < size; i++) /* segments are short; a call of memcmp() takes longer */
        if (text[i] != other[i])
            return false;
    return true;
}

/* A path, cut at its slashes: the segment i goes from starts[i] to starts[i + 1] - 1. */
typedef struct {
    const char *starts[DEPTH_MAX + 2];
    size_t count;
    const char *last; /* the end of the path */
} path;

/* Cut a path; false if it has more segments than any pattern that is laid out here. */
static bool cut(path *path, const char *at, const char *last)
{
    path->starts[0] = at;
    path->count = 1;
    path->last = last;
    for (; at < last; at++) {
        if (*at != '/')
            continue;
        if (path->count == DEPTH_MAX)
            return false;
        path->starts[path->count++] = at + 1;
    }
    path->starts[path->count] = last + 1;
    return true;
}

/* Whether a segment of size octets, of a path that goes on to last, is what an edge stands for. */
static bool fits(const edge *edge, const char *at, size_t size, const char *last)
{
    if (size < edge->size || !equal(at, edge->literal, edge->size))
        return false;
    at += edge->size;
    size -= edge->size;
    switch (edge->kind) {
    case LITERAL:
        return size == 0;
    case STR:
        return size > 0;
    case INT:
        return is_int(at, size);
    case UUID:
        return is_uuid(at, size);
    default:
        return at < last;
    }
}

typedef struct {
    const jp_routes *routes;
    path path;
    unsigned method; /* its bit */
    size_t best;     /* the first route so far, or SIZE_MAX */
} search;

static void found(search *search, size_t number)
{
    if (number < search->best && search->routes->routes[number].methods & search->method)
        search->best = number;
}

/* Walk on from a node, with the segment at place. */
static void walk(search *search, const node *node, size_t place)
{
    if (place == search->path.count) {
        for (size_t i = 0; i < node->end_count; i++)
            found(search, node->ends[i]);
        return;
    }
    const char *at = search->path.starts[place];
    size_t size = (size_t)(search->path.starts[place + 1] - 1 - at);
    for (size_t i = 0; i < node->edge_count; i++) {
        const edge *edge = &node->edges[i];
        if ((edge->kind == LITERAL && edge->size != size) || !fits(edge, at, size, search->path.last))
            continue;
        if (edge->kind == PATH)
            found(search, edge->route);
        else
            walk(search, edge->node, place + 1);
    }
}

static PyObject *value_of(const value *value, const path *path)
{
    const char *at = path->starts[value->place] + value->skip;
    const char *end = value->tail ? path->last : path->starts[value->place + 1] - 1;
    PyObject *text = PyUnicode_New(end - at, 127);
    if (!text)
        return NULL;
    memcpy(PyUnicode_1BYTE_DATA(text), at, (size_t)(end - at));
    if (value->convert == Py_None)
        return text;
    PyObject *converted = PyObject_CallOneArg(value->convert, text);
    Py_DECREF(text);
    return converted;
}

/* The values of the placeholders of a route in a path. */
static PyObject *match(const route *route, const path *path)
{
    PyObject *values = PyDict_New();
    for (size_t i = 0; values && i < route->value_count; i++) {
        PyObject *made = value_of(&route->values[i], path);
        if (!made || PyDict_SetItem(values, route->values[i].name, made) < 0)
            Py_CLEAR(values);
        Py_XDECREF(made);
    }
    return values;
}

/* The target of a route, with the values of its placeholders in match.  The spare one is taken, if there is
 * one. */
static PyObject *target_with(const jp_state *state, PyObject **spare, PyObject *target, PyObject *match)
{
    PyObject *made = *spare;
    *spare = NULL;
    if (!made)
        made = jp_new(state->target_type);
    if (made) {
#define COPY(name) jp_put(made, state->at.target.name, Py_XNewRef(*jp_slot(target, state->at.target.name)));
        JP_TARGET_SLOTS(COPY)
        jp_put(made, state->at.target.match, Py_NewRef(match));
    }
    return made;
}

PyObject *jp_find_route(const jp_state *state, const jp_routes *routes, int method, const uint8_t *octets,
                        size_t size, PyObject **spare)
{
    search search; /* an initializer would write to all of the path */
    search.routes = routes;
    search.method = 1u << method;
    search.best = SIZE_MAX;
    if (!cut(&search.path, (const char *)octets, (const char *)octets + size))
        return NULL;
    walk(&search, &routes->root, 0);
    if (search.best == SIZE_MAX)
        return NULL;
    const route *route = &routes->routes[search.best];
    if (!route->value_count)
        return Py_NewRef(route->target);
    PyObject *values = match(route, &search.path);
    if (!values)
        return NULL;
    PyObject *target = target_with(state, spare, route->target, values);
    Py_DECREF(values);
    return target;
}
