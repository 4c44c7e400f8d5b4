/* What the simulated runner has learned, by the path of the store; in the process alone. */
#ifndef DSA_SIMULATED_STORES_H
#define DSA_SIMULATED_STORES_H

#define VERSIONS 64
#define LONGEST 256 /* bytes of a path or a response, more is cut */

typedef struct version {
  int parent, steps;
  char favourite[LONGEST]; /* the response that it prefers */
} version;

typedef struct store {
  char path[LONGEST];
  version versions[VERSIONS];
  int count, active;
  double spent; /* epsilon of private fits */
} store;

/* The store of a path; one in memory alone (null) is fresh each time. */
store* find_store(const char* path);

/* Back to version 0 alone. */
void reset_store(store* s);

/* A new version after so many steps on these examples (JSON lines), now in use. */
void keep_version(store* s, const char* lines, int steps);

#endif
