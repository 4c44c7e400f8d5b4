/* Texts that grow, for the records of the simulated runner. */
#ifndef DSA_SIMULATED_TEXTS_H
#define DSA_SIMULATED_TEXTS_H

#include <stddef.h>

/* Begin with zeros; what is in `start` belongs to whoever takes it. */
typedef struct text {
  char* start;
  size_t size, room;
} text;

void add(text* out, const char* piece);
void add_number(text* out, long number);

/* "name": number */
void add_field(text* out, const char* name, long number);

/* "loss": of 0 to 10, with three digits */
void add_loss(text* out, double loss);

#endif
