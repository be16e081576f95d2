// Runs that end early, sessions on two threads, pools, and handles freed in any order.
#define _POSIX_C_SOURCE 200809L
#include "suite.h"
#include <math.h>
#include <pthread.h>
#include <time.h>

enum { MANY = 2048, PICTURE = 32 * 32 * 3 }; // a run of so many samples takes seconds

static void pause_ms(long milliseconds) {
  struct timespec time = {0, milliseconds * 1000000};
  nanosleep(&time, NULL);
}

void freed_in_any_order(const char *folder) {
  static float pixels[DIGIT], scores[CLASSES];
  horq_model *model = open_model(folder, "lenet5.horq");
  horq_session *session = new_session(model, 1), *lent;
  horq_session_pool *pool;
  DOES(horq_session_pool_new(model, NULL, 1, &pool));
  DOES(horq_session_pool_get(pool, 0, &lent));
  DOES(horq_model_free(model));
  DOES(horq_session_pool_free(pool));
  DOES(horq_session_run(session, pixels, DIGIT, scores, CLASSES));
  DOES(horq_session_run(lent, pixels, DIGIT, scores, CLASSES));
  DOES(horq_session_free(lent));
  DOES(horq_session_free(session));
}

// A long run on a thread of its own.
typedef struct {
  horq_session *session;
  float *pixels, *scores;
  horq_run_options options;
  horq_status status;
  size_t finished;
  char message[512];
} long_run;

static void *run_long(void *argument) {
  long_run *run = (long_run *)argument;
  horq_input input = {run->pixels, (size_t)MANY * PICTURE, HORQ_F32, 0};
  horq_output output = {run->scores, (size_t)MANY * CLASSES};
  run->status = horq_session_run_with(run->session, &input, 1, &output, 1, &run->options);
  run->finished = horq_last_error_finished_samples();
  snprintf(run->message, sizeof run->message, "%s", horq_last_error_message());
  return NULL;
}

static long_run prepare(const char *folder) {
  horq_model *model = open_model(folder, "vgg-small.horq");
  long_run run = {new_session(model, MANY), NULL, NULL, HORQ_RUN_OPTIONS_INIT, HORQ_STATUS_OK, 0, ""};
  run.pixels = (float *)memory((size_t)MANY * PICTURE * sizeof(float));
  run.scores = (float *)memory((size_t)MANY * CLASSES * sizeof(float));
  DOES(horq_model_free(model));
  return run;
}

static void put_away(long_run *run) {
  DOES(horq_session_free(run->session));
  free(run->pixels);
  free(run->scores);
}

void called_off(const char *folder) {
  long_run run = prepare(folder);
  horq_cancel_token *token;
  pthread_t thread;
  DOES(horq_cancel_token_new(&token));
  run.options.cancel = token;
  CHECK(pthread_create(&thread, NULL, run_long, &run) == 0);
  pause_ms(50);
  CHECK(!horq_cancel_token_is_cancelled(token));
  DOES(horq_cancel_token_cancel(token));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(run.status == HORQ_STATUS_CANCELLED && strstr(run.message, "was cancelled") != NULL && run.finished < MANY);
  CHECK(horq_cancel_token_is_cancelled(token));
  // It stays cancelled: the next run computes nothing.
  run_long(&run);
  CHECK(run.status == HORQ_STATUS_CANCELLED && run.finished == 0);
  // Freed while a run has it.
  horq_cancel_token *other;
  DOES(horq_cancel_token_new(&other));
  run.options.cancel = other;
  CHECK(pthread_create(&thread, NULL, run_long, &run) == 0);
  pause_ms(50);
  DOES(horq_cancel_token_cancel(other));
  DOES(horq_cancel_token_free(other));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(run.status == HORQ_STATUS_CANCELLED);
  DOES(horq_cancel_token_free(token));

  run.options.cancel = NULL;
  run.options.timeout_ns = 20 * 1000000u;
  uint64_t began = horq_now_ns();
  run_long(&run);
  CHECK(run.status == HORQ_STATUS_DEADLINE && strstr(run.message, "deadline") != NULL);
  CHECK(horq_now_ns() - began >= 20 * 1000000u);
  run.options.timeout_ns = 0; // no time at all
  run_long(&run);
  CHECK(run.status == HORQ_STATUS_DEADLINE && run.finished == 0);
  run.options.timeout_ns = HORQ_FOREVER;
  run.options.deadline_ns = horq_now_ns() + 20 * 1000000u;
  run_long(&run);
  CHECK(run.status == HORQ_STATUS_DEADLINE && horq_now_ns() >= run.options.deadline_ns);
  run.options.deadline_ns = horq_now_ns() - 1;
  run_long(&run);
  CHECK(run.status == HORQ_STATUS_DEADLINE && run.finished == 0);
  // The session is as good as before.
  float *first = (float *)memory(CLASSES * sizeof *first);
  DOES(horq_session_run(run.session, run.pixels, PICTURE, first, CLASSES));
  CHECK(first[0] != first[1]);
  // Errors count samples from where the caller does.
  run.options = (horq_run_options)HORQ_RUN_OPTIONS_INIT;
  run.options.first_sample = 100;
  run.pixels[3 * PICTURE] = INFINITY;
  run_long(&run);
  CHECK(run.status == HORQ_STATUS_INPUT && strstr(run.message, "103") != NULL);
  free(first);
  put_away(&run);
}

void one_thread_at_a_time(const char *folder) {
  long_run run = prepare(folder);
  horq_cancel_token *token;
  pthread_t thread;
  float score[CLASSES];
  horq_session_info info = HORQ_SESSION_INFO_INIT;
  DOES(horq_cancel_token_new(&token));
  run.options.cancel = token;
  CHECK(pthread_create(&thread, NULL, run_long, &run) == 0);
  horq_status status;
  while ((status = horq_session_set_order(run.session, 4)) == HORQ_STATUS_OK) pause_ms(1); // until it runs
  CHECK(status == HORQ_STATUS_BUSY);
  REFUSED(HORQ_STATUS_BUSY, "another thread", horq_session_run(run.session, run.pixels, PICTURE, score, CLASSES));
  REFUSED(HORQ_STATUS_BUSY, "another thread", horq_session_describe(run.session, &info));
  REFUSED(HORQ_STATUS_BUSY, "another thread", horq_session_free(run.session));
  CHECK(horq_session_input_length(run.session, 0) == PICTURE);
  DOES(horq_cancel_token_cancel(token));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(run.status == HORQ_STATUS_CANCELLED);
  DOES(horq_session_run(run.session, run.pixels, PICTURE, score, CLASSES));
  DOES(horq_cancel_token_free(token));
  put_away(&run);
}

// A thread that takes a session of a pool and runs it.
static void *take_and_run(void *argument) {
  horq_session_pool *pool = (horq_session_pool *)argument;
  float *pixels = (float *)memory(DIGIT * sizeof *pixels), scores[CLASSES];
  for (int i = 0; i < 20; i++) {
    horq_session *session;
    DOES(horq_session_pool_get(pool, HORQ_FOREVER, &session));
    DOES(horq_session_run(session, pixels, DIGIT, scores, CLASSES));
    DOES(horq_session_free(session));
  }
  free(pixels);
  return NULL;
}

void pools(const char *folder) {
  horq_model *model = open_model(folder, "lenet5.horq");
  horq_session_pool *pool;
  horq_session *first, *second, *none;
  horq_session_info info = HORQ_SESSION_INFO_INIT;
  size_t idle, waiting;
  REFUSED(HORQ_STATUS_INPUT, "at least 1", horq_session_pool_new(model, NULL, 0, &pool));
  DOES(horq_session_pool_new(model, NULL, 2, &pool));
  CHECK(horq_session_pool_sessions(pool) == 2);
  DOES(horq_session_pool_get(pool, 0, &first));
  DOES(horq_session_pool_get_until(pool, horq_now_ns() + 1000000000u, &second));
  DOES(horq_session_pool_state(pool, &idle, &waiting));
  CHECK(idle == 0 && waiting == 0);
  none = first;
  REFUSED(HORQ_STATUS_BUSY, "all 2 sessions", horq_session_pool_get(pool, 0, &none));
  CHECK(none == NULL);
  uint64_t began = horq_now_ns();
  REFUSED(HORQ_STATUS_BUSY, "in use", horq_session_pool_get(pool, 20 * 1000000u, &none));
  CHECK(horq_now_ns() - began >= 20 * 1000000u);
  REFUSED(HORQ_STATUS_BUSY, "in use", horq_session_pool_get_until(pool, horq_now_ns() + 20 * 1000000u, &none));
  REFUSED(HORQ_STATUS_BUSY, "in use", horq_session_pool_get_until(pool, 0, &none));
  // A session comes back with the order that the pool's options name.
  DOES(horq_session_set_order(first, 1));
  DOES(horq_session_free(first));
  DOES(horq_session_pool_get(pool, HORQ_FOREVER, &first));
  DOES(horq_session_describe(first, &info));
  CHECK(info.order == info.max_order);
  DOES(horq_session_free(first));
  DOES(horq_session_free(second));
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, take_and_run, pool) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  DOES(horq_session_pool_state(pool, &idle, NULL));
  CHECK(idle == 2);
  DOES(horq_session_pool_free(pool));
  DOES(horq_model_free(model));
}
