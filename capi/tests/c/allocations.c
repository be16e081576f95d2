// Counts what runs allocate: allocations MODELS SEVERAL.horq. The functions that allocate are this program's own, also for the library.
// glibc alone has the __libc_ functions that they hand on to.
#include "suite.h"

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static size_t calls;

void *malloc(size_t bytes) {
  calls++;
  return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes) {
  calls++;
  return __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes) {
  calls++;
  return __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
  calls++;
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes) {
  calls++;
  *out = __libc_memalign(alignment, bytes);
  return *out == NULL ? 12 : 0;
}

int main(int count, char **arguments) {
  CHECK(count == 3);
  horq_model *model = open_model(arguments[1], "lenet5.horq");
  horq_session *session = new_session(model, 1);
  CHECK(calls > 10); // they are counted
  static float pixels[DIGIT], scores[CLASSES];
  static unsigned char bytes[DIGIT];
  horq_input inputs[2] = {{pixels, DIGIT, HORQ_F32, 0}, {bytes, DIGIT, HORQ_U8, 0}};
  horq_output output = {scores, CLASSES};
  horq_cancel_token *token;
  DOES(horq_cancel_token_new(&token));
  horq_run_options options = HORQ_RUN_OPTIONS_INIT;
  options.cancel = token;
  options.timeout_ns = 60 * 1000000000ull;
  DOES(horq_session_run_with(session, &inputs[1], 1, &output, 1, NULL)); // takes the memory to widen bytes
  DOES(horq_session_run(session, pixels, DIGIT, scores, CLASSES));
  // A model with two inputs and two outputs of two values each.
  horq_model *several;
  DOES(horq_model_open(arguments[2], NULL, &several));
  horq_session *of_several = new_session(several, 1);
  float a[2] = {1, 2}, b[2] = {3, -4}, sum[2], positive[2];
  horq_input two[2] = {{a, 2, HORQ_F32, 0}, {b, 2, HORQ_F32, 0}};
  horq_output both[2] = {{positive, 2}, {sum, 2}};
  size_t before = calls;
  for (int i = 0; i < 1000; i++) {
    DOES(horq_session_run(session, pixels, DIGIT, scores, CLASSES));
    DOES(horq_session_set_order(session, 1 + (unsigned)i % 4));
    DOES(horq_session_run_with(session, &inputs[i % 2], 1, &output, 1, &options));
    DOES(horq_session_run_with(of_several, two, 2, both, 2, &options));
  }
  size_t allocations = calls - before;
  printf("%zu allocations in 3000 warm runs\n", allocations);
  CHECK(allocations == 0);
  CHECK(sum[1] == -2 && positive[1] == 0);
  DOES(horq_session_free(of_several));
  DOES(horq_model_free(several));
  DOES(horq_cancel_token_free(token));
  DOES(horq_session_free(session));
  DOES(horq_model_free(model));
  return 0;
}
