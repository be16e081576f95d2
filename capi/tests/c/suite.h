// What the tests in C share.
#ifndef HORQ_SUITE_H
#define HORQ_SUITE_H

#include <horq.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Ends the program unless that holds.
#define CHECK(what)                                                                                                   \
  do {                                                                                                                \
    if (!(what)) {                                                                                                    \
      fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #what, horq_last_error_message());         \
      exit(1);                                                                                                        \
    }                                                                                                                 \
  } while (0)

// A call that succeeds.
#define DOES(call) CHECK((call) == HORQ_STATUS_OK)

// A call that is refused with that status, and a message that says so.
#define REFUSED(expected, words, call)                                                                                \
  do {                                                                                                                \
    horq_status status_ = (call);                                                                                     \
    if (status_ != (expected) || strstr(horq_last_error_message(), (words)) == NULL) {                                \
      fprintf(stderr, "%s:%d: %s\n  returned %d, not %d, or has not \"%s\" in: %s\n", __FILE__, __LINE__, #call,      \
              (int)status_, (int)(expected), (words), horq_last_error_message());                                     \
      exit(1);                                                                                                        \
    }                                                                                                                 \
  } while (0)

// The path of a bundled model in the folder that the test was given.
static inline const char *model_path(const char *folder, const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static inline horq_model *open_model(const char *folder, const char *name) {
  horq_model *model = NULL;
  DOES(horq_model_open(model_path(folder, name), NULL, &model));
  return model;
}

static inline horq_session *new_session(const horq_model *model, size_t batch) {
  horq_session_options options = HORQ_SESSION_OPTIONS_INIT;
  horq_session *session = NULL;
  options.batch = batch;
  DOES(horq_session_new(model, &options, &session));
  return session;
}

static inline void *memory(size_t bytes) {
  void *found = calloc(bytes, 1);
  CHECK(found != NULL);
  return found;
}


enum { DIGIT = 28 * 28, CLASSES = 10 };

void ways_to_open(const char *folder);
void names_and_shapes(const char *folder);
void lengths_and_pointers(const char *folder);
void several_values_and_bytes(const char *folder);
void sizes_of_structs(const char *folder);
void orders_and_profiles(const char *folder);
void wrong_handles(const char *folder);
void freed_in_any_order(const char *folder);
void called_off(const char *folder);
void one_thread_at_a_time(const char *folder);
void pools(const char *folder);
void the_machine(const char *folder);

#endif
