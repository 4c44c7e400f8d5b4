#include "stores.h"

#include <stddef.h>
#include <string.h>

#define STORES 16 /* the last one is for memory alone */

static store stores[STORES];

static void copy(char* target, const char* source, size_t size) {
  if (size >= LONGEST) size = LONGEST - 1;
  memcpy(target, source, size);
  target[size] = '\0';
}

void reset_store(store* s) {
  s->count = 1;
  s->active = 0;
  s->spent = 0;
  memset(s->versions, 0, sizeof(s->versions));
  s->versions[0].parent = -1;
}

store* find_store(const char* path) {
  store* s = stores;
  if (path == NULL) {
    reset_store(&stores[STORES - 1]);
    return &stores[STORES - 1];
  }
  while (s < stores + STORES - 2 && s->path[0] != '\0' && strcmp(s->path, path) != 0) s++;
  if (s->path[0] == '\0' || strcmp(s->path, path) != 0) reset_store(s);
  copy(s->path, path, strlen(path));
  return s;
}

/* The response of the last line, as it stands there. */
static void find_favourite(const char* lines, char* favourite) {
  const char* mark = "\"response\":\"";
  const char* at = strstr(lines, mark);
  size_t size = 0;
  for (; at != NULL && strstr(at + 1, mark) != NULL;) at = strstr(at + 1, mark);
  if (at == NULL) return;
  at += strlen(mark);
  while (at[size] != '\0' && at[size] != '"') size++;
  copy(favourite, at, size);
}

void keep_version(store* s, const char* lines, int steps) {
  version* made = &s->versions[s->count < VERSIONS ? s->count++ : VERSIONS - 1];
  made->parent = s->active;
  made->steps = steps;
  find_favourite(lines, made->favourite);
  s->active = (int)(made - s->versions);
}
