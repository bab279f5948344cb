/* The sets that each octet is in, in the shape of an ASCII chart: sixteen to a line. */
#include "scan_parts.h"

#define N 0                                      /* nowhere */
#define V JP_VALUE                               /* HTAB, SP, obs-text: in values alone */
#define H (JP_VALUE | JP_TOKEN)                  /* "#" begins a fragment, which no target has */
#define Q (JP_VALUE | JP_QUERY)                  /* "?" and "\" end a path */
#define E (JP_VALUE | JP_QUERY | JP_TOKEN)       /* "%" */
#define P (JP_VALUE | JP_QUERY | JP_PATH)        /* delimiters */
#define T (P | JP_TOKEN)                         /* "^", "`", "|" */
#define S (P | JP_REG_NAME)                      /* sub-delims that are no tchar */
#define A (P | JP_REG_NAME | JP_TOKEN)           /* in all of them */
#define X (A | JP_HEX)
#define D (X | JP_DIGIT)

const uint8_t jp_octets[256] = {
    N, N, N, N, N, N, N, N, N, V, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    V, A, P, H, A, E, A, A, S, S, A, A, S, A, A, P, /*   ! " # $ % & ' ( ) * + , - . / */
    D, D, D, D, D, D, D, D, D, D, P, S, P, S, P, Q, /* 0 1 2 3 4 5 6 7 8 9 : ; < = > ? */
    P, X, X, X, X, X, X, A, A, A, A, A, A, A, A, A, /* @ A B C D E F G H I J K L M N O */
    A, A, A, A, A, A, A, A, A, A, A, P, Q, P, T, A, /* P Q R S T U V W X Y Z [ \ ] ^ _ */
    T, X, X, X, X, X, X, A, A, A, A, A, A, A, A, A, /* ` a b c d e f g h i j k l m n o */
    A, A, A, A, A, A, A, A, A, A, A, P, T, P, A, N, /* p q r s t u v w x y z { | } ~   */
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
};
