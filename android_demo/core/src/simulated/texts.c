#include "texts.h"

#include <stdlib.h>
#include <string.h>

static void add_bytes(text* out, const char* bytes, size_t size) {
  if (out->start == NULL || out->size + size + 1 > out->room) {
    const size_t room = 2 * (out->size + size) + 64;
    char* larger = malloc(room);
    if (larger == NULL) return;
    if (out->start != NULL) memcpy(larger, out->start, out->size);
    free(out->start);
    out->start = larger;
    out->room = room;
  }
  memcpy(out->start + out->size, bytes, size);
  out->size += size;
  out->start[out->size] = '\0';
}

void add(text* out, const char* piece) { add_bytes(out, piece, strlen(piece)); }

void add_number(text* out, long number) {
  char digits[24];
  int at = sizeof(digits);
  const int negative = number < 0;
  if (negative) number = -number;
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  if (negative) digits[--at] = '-';
  add_bytes(out, digits + at, sizeof(digits) - (size_t)at);
}

void add_field(text* out, const char* name, long number) {
  add(out, "\"");
  add(out, name);
  add(out, "\": ");
  add_number(out, number);
}

void add_loss(text* out, double loss) {
  const long thousandths = (long)(1000 * loss + 0.5);
  add(out, "\"loss\": ");
  add_number(out, thousandths / 1000);
  add(out, thousandths % 1000 < 10 ? ".00" : thousandths % 1000 < 100 ? ".0" : ".");
  add_number(out, thousandths % 1000);
}
