// Sessions: buffers, structs of other versions, orders, handles that are none.
#include "suite.h"
#include <math.h>

void lengths_and_pointers(const char *folder) {
  horq_model *model = open_model(folder, "lenet5.horq");
  horq_session *session = new_session(model, 2);
  static float pixels[3 * DIGIT + 1], scores[3 * CLASSES], both[DIGIT + CLASSES];
  CHECK(horq_session_input_length(session, 0) == DIGIT && horq_session_output_length(session, 0) == CLASSES);
  CHECK(horq_session_input_length(session, 1) == 0 && horq_session_output_length(session, SIZE_MAX) == 0);
  DOES(horq_session_run(session, pixels, DIGIT, scores, CLASSES));
  DOES(horq_session_run(session, pixels, 2 * DIGIT, scores, 2 * CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "1 to 2 samples", horq_session_run(session, pixels, 3 * DIGIT, scores, 3 * CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "1 to 2 samples", horq_session_run(session, pixels, DIGIT - 1, scores, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "1 to 2 samples", horq_session_run(session, NULL, 0, scores, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "need 10", horq_session_run(session, pixels, DIGIT, scores, CLASSES - 1));
  REFUSED(HORQ_STATUS_INPUT, "need 10", horq_session_run(session, pixels, DIGIT, NULL, 0));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_run(session, NULL, DIGIT, scores, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_run(session, pixels, DIGIT, NULL, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_run(NULL, pixels, DIGIT, scores, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "more than any memory", horq_session_run(session, pixels, SIZE_MAX, scores, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "beyond the end", horq_session_run(session, (float *)(SIZE_MAX - 7), DIGIT, scores, CLASSES));
  const float *crooked = (const float *)(const void *)((const char *)pixels + 1);
  REFUSED(HORQ_STATUS_INPUT, "aligned", horq_session_run(session, crooked, DIGIT, scores, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "overlap", horq_session_run(session, both, DIGIT, both + DIGIT - 1, CLASSES));
  REFUSED(HORQ_STATUS_INPUT, "overlap", horq_session_run(session, both + 1, DIGIT, both, CLASSES));
  DOES(horq_session_run(session, both, DIGIT, both + DIGIT, CLASSES));
  // The sample at fault is told; the others can be run again.
  pixels[DIGIT + 5] = NAN;
  REFUSED(HORQ_STATUS_INPUT, "sample 1", horq_session_run(session, pixels, 2 * DIGIT, scores, 2 * CLASSES));
  CHECK(horq_last_error_sample() == 1);
  DOES(horq_session_run(session, pixels, DIGIT, scores, CLASSES));
  // A message stays until the next call that fails, and belongs to its thread.
  CHECK(horq_last_error_sample() == 1);
  DOES(horq_session_free(session));
  DOES(horq_model_free(model));
}

void several_values_and_bytes(const char *folder) {
  horq_model *model = open_model(folder, "lenet5.horq");
  horq_session *session = new_session(model, 1);
  static unsigned char bytes[DIGIT];
  static float pixels[DIGIT], scores[CLASSES], same[CLASSES];
  for (size_t i = 0; i < DIGIT; i++) pixels[i] = bytes[i] = (unsigned char)(i * 37);
  horq_input input = {pixels, DIGIT, HORQ_F32, 0}, inputs[2];
  horq_output output = {scores, CLASSES}, outputs[2];
  DOES(horq_session_run_with(session, &input, 1, &output, 1, NULL));
  horq_input widened = {bytes, DIGIT, HORQ_U8, 0};
  output.data = same;
  DOES(horq_session_run_with(session, &widened, 1, &output, 1, NULL));
  CHECK(memcmp(scores, same, sizeof scores) == 0);
  inputs[0] = inputs[1] = input;
  outputs[0] = outputs[1] = output;
  REFUSED(HORQ_STATUS_INPUT, "2 inputs were given", horq_session_run_with(session, inputs, 2, &output, 1, NULL));
  REFUSED(HORQ_STATUS_INPUT, "2 outputs were given", horq_session_run_with(session, &input, 1, outputs, 2, NULL));
  REFUSED(HORQ_STATUS_INPUT, "inputs were given", horq_session_run_with(session, inputs, SIZE_MAX, &output, 1, NULL));
  REFUSED(HORQ_STATUS_INPUT, "0 inputs", horq_session_run_with(session, NULL, 0, NULL, 0, NULL));
  REFUSED(HORQ_STATUS_INPUT, "`inputs` is NULL", horq_session_run_with(session, NULL, 1, &output, 1, NULL));
  REFUSED(HORQ_STATUS_INPUT, "`outputs` is NULL", horq_session_run_with(session, &input, 1, NULL, 1, NULL));
  input.kind = 9;
  REFUSED(HORQ_STATUS_INPUT, "not 9", horq_session_run_with(session, &input, 1, &output, 1, NULL));
  input.kind = HORQ_F32;
  input.reserved = 1;
  REFUSED(HORQ_STATUS_INPUT, "reserved", horq_session_run_with(session, &input, 1, &output, 1, NULL));
  DOES(horq_session_free(session));
  DOES(horq_model_free(model));
}

// A struct as the header of a newer library would have it.
typedef struct {
  horq_run_options known;
  size_t newer;
} newer_run_options;

typedef struct {
  horq_session_info known;
  size_t newer;
} newer_session_info;

void sizes_of_structs(const char *folder) {
  horq_model *model = open_model(folder, "lenet5.horq");
  horq_session *session = new_session(model, 1);
  static float pixels[DIGIT], scores[CLASSES];
  horq_input input = {pixels, DIGIT, HORQ_F32, 0};
  horq_output output = {scores, CLASSES};
  newer_run_options newer = {HORQ_RUN_OPTIONS_INIT, 0};
  newer.known.struct_size = sizeof newer;
  DOES(horq_session_run_with(session, &input, 1, &output, 1, &newer.known));
  newer.newer = 1;
  REFUSED(HORQ_STATUS_INPUT, "newer", horq_session_run_with(session, &input, 1, &output, 1, &newer.known));
  size_t sizes[] = {0, 1, sizeof(size_t), sizeof(horq_run_options) - 1, 4097, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    horq_run_options options = HORQ_RUN_OPTIONS_INIT;
    options.struct_size = sizes[i];
    REFUSED(HORQ_STATUS_INPUT, "HORQ_RUN_OPTIONS_INIT", horq_session_run_with(session, &input, 1, &output, 1, &options));
    if (sizes[i] >= sizeof(horq_session_options) && sizes[i] <= 4096) continue; // which may be right for this one
    horq_session_options how = HORQ_SESSION_OPTIONS_INIT;
    horq_session *none = session;
    how.struct_size = sizes[i];
    REFUSED(HORQ_STATUS_INPUT, "HORQ_SESSION_OPTIONS_INIT", horq_session_new(model, &how, &none));
    CHECK(none == NULL);
    horq_limits limits = HORQ_LIMITS_INIT;
    limits.struct_size = sizes[i];
    horq_model *other = NULL;
    CHECK(horq_model_open(model_path(folder, "lenet5.horq"), &limits, &other) != HORQ_STATUS_OK && other == NULL);
  }
  // A struct that is filled: what a newer header has more is zero.
  newer_session_info info = {HORQ_SESSION_INFO_INIT, 77};
  DOES(horq_session_describe(session, &info.known));
  CHECK(info.newer == 77 && info.known.batch == 1 && info.known.input_count == 1 && info.known.output_count == 1);
  CHECK(info.known.order == 4 && info.known.max_order == 4 && info.known.memory_bytes > 0 && info.known.isa != NULL);
  info.known.struct_size = sizeof info;
  DOES(horq_session_describe(session, &info.known));
  CHECK(info.newer == 0 && info.known.struct_size == sizeof info);
  horq_session_info unset;
  memset(&unset, 0, sizeof unset);
  REFUSED(HORQ_STATUS_INPUT, "HORQ_SESSION_INFO_INIT", horq_session_describe(session, &unset));
  REFUSED(HORQ_STATUS_INPUT, "`info` is NULL", horq_session_describe(session, NULL));
  DOES(horq_session_free(session));
  DOES(horq_model_free(model));
}

void orders_and_profiles(const char *folder) {
  horq_model *model = open_model(folder, "lenet5.horq");
  horq_session_options options = HORQ_SESSION_OPTIONS_INIT;
  horq_session *session, *other;
  static float pixels[DIGIT], scores[CLASSES], at_one[CLASSES];
  for (size_t i = 0; i < DIGIT; i++) pixels[i] = (float)(i * 37 % 256);
  options.order = 1;
  options.profile = 1;
  options.isa = "portable";
  DOES(horq_session_new(model, &options, &session));
  DOES(horq_session_run(session, pixels, DIGIT, at_one, CLASSES));
  options.isa = NULL;
  options.order = 0;
  options.threads = 2;
  DOES(horq_session_new(model, &options, &other));
  DOES(horq_session_run(other, pixels, DIGIT, scores, CLASSES));
  CHECK(memcmp(scores, at_one, sizeof scores) != 0);
  DOES(horq_session_set_order(other, 1));
  DOES(horq_session_run(other, pixels, DIGIT, scores, CLASSES));
  CHECK(memcmp(scores, at_one, sizeof scores) == 0);
  DOES(horq_session_set_order(other, 8));
  REFUSED(HORQ_STATUS_INPUT, "0", horq_session_set_order(other, 0));
  REFUSED(HORQ_STATUS_INPUT, "9", horq_session_set_order(other, 9));
  REFUSED(HORQ_STATUS_INPUT, "`none`", horq_session_set_layer_order(other, "none", 1));
  REFUSED(HORQ_STATUS_INPUT, "UTF-8", horq_session_set_layer_order(other, "\xff", 1));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_set_layer_order(other, NULL, 1));
  size_t length = 0;
  DOES(horq_session_profile_json(session, NULL, 0, &length));
  char *json = (char *)memory(length + 1);
  REFUSED(HORQ_STATUS_INPUT, "capacity", horq_session_profile_json(session, json, length, NULL));
  DOES(horq_session_profile_json(session, json, length + 1, &length));
  CHECK(strlen(json) == length && strstr(json, "\"runs\":1,") != NULL && strstr(json, "\"isa\":\"portable\"") != NULL);
  DOES(horq_session_reset_profile(session));
  DOES(horq_session_profile_json(session, json, length + 1, &length));
  CHECK(strstr(json, "\"runs\":1,") == NULL);
  free(json);
  DOES(horq_session_free(session));
  DOES(horq_session_free(other));
  options.isa = "abacus";
  REFUSED(HORQ_STATUS_CPU, "abacus", horq_session_new(model, &options, &session));
  options.isa = NULL;
  options.order = 9;
  REFUSED(HORQ_STATUS_INPUT, "9", horq_session_new(model, &options, &session));
  options.order = 0;
  options.threads = SIZE_MAX;
  REFUSED(HORQ_STATUS_RESOURCE, "threads", horq_session_new(model, &options, &session));
  DOES(horq_model_free(model));
  horq_limits limits = HORQ_LIMITS_INIT;
  limits.session_bytes = 1000;
  DOES(horq_model_open(model_path(folder, "lenet5.horq"), &limits, &model));
  REFUSED(HORQ_STATUS_RESOURCE, "1000", horq_session_new(model, NULL, &session));
  DOES(horq_model_free(model));
}

void wrong_handles(const char *folder) {
  horq_model *model = open_model(folder, "lenet5.horq");
  horq_session *session = new_session(model, 1);
  horq_cancel_token *token;
  float value = 0;
  // Handles of another kind, as a language without types would pass them.
  void *as_session = model, *as_model = session;
  REFUSED(HORQ_STATUS_INPUT, "of another kind", horq_session_run((horq_session *)as_session, &value, 1, &value, 1));
  REFUSED(HORQ_STATUS_INPUT, "of another kind", horq_session_free((horq_session *)as_session));
  REFUSED(HORQ_STATUS_INPUT, "of another kind", horq_model_free((horq_model *)as_model));
  REFUSED(HORQ_STATUS_INPUT, "of another kind", horq_model_check((horq_model *)as_model));
  horq_session *none = session;
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_new(NULL, NULL, &none));
  CHECK(none == NULL);
  REFUSED(HORQ_STATUS_INPUT, "`session` is NULL", horq_session_new(model, NULL, NULL));
  REFUSED(HORQ_STATUS_INPUT, "`model` is NULL", horq_model_open("x", NULL, NULL));
  horq_model *other = model;
  REFUSED(HORQ_STATUS_INPUT, "`path` is NULL", horq_model_open(NULL, NULL, &other));
  CHECK(other == NULL);
  REFUSED(HORQ_STATUS_INPUT, "bytes", horq_model_from_bytes(NULL, 8, NULL, &other));
  REFUSED(HORQ_STATUS_INPUT, "horq_model is NULL", horq_model_verify_digest(NULL));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_set_order(NULL, 1));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_describe(NULL, NULL));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_profile_json(NULL, NULL, 0, NULL));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_cancel_token_new(NULL));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_cancel_token_cancel(NULL));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_pool_get(NULL, 0, &none));
  REFUSED(HORQ_STATUS_INPUT, "NULL", horq_session_pool_state(NULL, NULL, NULL));
  CHECK(horq_model_input_count(NULL) == 0 && horq_model_output_count(NULL) == 0 && horq_model_digest(NULL) == NULL);
  CHECK(horq_model_golden_samples(NULL) == 0 && horq_model_shared_fd(NULL) == -1);
  CHECK(horq_session_pool_sessions(NULL) == 0 && !horq_cancel_token_is_cancelled(NULL));
  DOES(horq_model_free(NULL));
  DOES(horq_session_free(NULL));
  DOES(horq_session_pool_free(NULL));
  DOES(horq_cancel_token_free(NULL));
  DOES(horq_cancel_token_new(&token));
  DOES(horq_cancel_token_free(token));
  DOES(horq_session_free(session));
  DOES(horq_model_free(model));
}

void the_machine(const char *folder) {
  char number[17];
  (void)folder;
  CHECK(strlen(horq_version()) >= 5 && strlen(horq_fingerprint()) == 16 && horq_isa() != NULL);
  if (getenv("HORQ_CAPI_RUNNER") == NULL) { // valgrind takes minutes over the self-test
    DOES(horq_selftest_number(NULL, number));
    CHECK(strcmp(number, horq_fingerprint()) == 0);
    DOES(horq_selftest());
  }
  REFUSED(HORQ_STATUS_INPUT, "`number` is NULL", horq_selftest_number(NULL, NULL));
  REFUSED(HORQ_STATUS_CPU, "abacus", horq_selftest_number("abacus", number));
}
