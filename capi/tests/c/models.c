// Models: every way to open one, garbage, names, shapes, notes.
#include "suite.h"
#include <math.h>

// The answers to the samples that the file carries are those of its producer, at any way to open it.
static void golden(horq_model *model) {
  horq_session *session = new_session(model, 4);
  const float *inputs, *answers;
  size_t input_length, answer_length, i;
  DOES(horq_model_golden_input(model, 0, &inputs, &input_length));
  DOES(horq_model_golden_output(model, 0, &answers, &answer_length));
  size_t samples = horq_model_golden_samples(model);
  size_t input = horq_session_input_length(session, 0), output = horq_session_output_length(session, 0);
  CHECK(samples > 0 && input_length == samples * input && answer_length == samples * output);
  float *found = (float *)memory(output * sizeof *found);
  for (i = 0; i < samples; i++) {
    DOES(horq_session_run(session, inputs + i * input, input, found, output));
    for (size_t j = 0; j < output; j++)
      CHECK(fabsf(found[j] - answers[i * output + j]) <= 1e-4f * (1 + fabsf(answers[i * output + j])));
  }
  free(found);
  DOES(horq_session_free(session));
}

void ways_to_open(const char *folder) {
  const char *path = model_path(folder, "lenet5.horq");
  horq_model *model, *same;
  DOES(horq_model_open(path, NULL, &model));
  golden(model);
  DOES(horq_model_verify_digest(model));
  char digest[65];
  snprintf(digest, sizeof digest, "%s", horq_model_digest(model));
  CHECK(strlen(digest) == 64 && horq_model_shared_fd(model) == -1);
  DOES(horq_model_free(model));

  DOES(horq_model_map_unsafe(path, NULL, &model));
  DOES(horq_model_prefault(model));
  DOES(horq_model_check(model));
  golden(model);
  DOES(horq_model_free(model));

  DOES(horq_model_open_shared(path, NULL, &model));
  golden(model);
#ifdef __linux__
  CHECK(horq_model_shared_fd(model) >= 0);
  DOES(horq_model_from_shared_fd(horq_model_shared_fd(model), NULL, &same));
  DOES(horq_model_free(model));
  golden(same);
  CHECK(strcmp(horq_model_digest(same), digest) == 0);
  DOES(horq_model_free(same));
#else
  DOES(horq_model_free(model));
#endif
  REFUSED(HORQ_STATUS_FILE, "sealed", horq_model_from_shared_fd(0, NULL, &same));
  REFUSED(HORQ_STATUS_INPUT, "-1", horq_model_from_shared_fd(-1, NULL, &same));
  REFUSED(HORQ_STATUS_FILE, "shared memory", horq_model_from_shared_fd(9999, NULL, &same));

  FILE *file = fopen(path, "rb");
  CHECK(file != NULL);
  static unsigned char bytes[1 << 20];
  size_t length = fread(bytes, 1, sizeof bytes, file);
  fclose(file);
  DOES(horq_model_from_bytes(bytes, length, NULL, &model));
  golden(model);
  DOES(horq_model_free(model));
  // Garbage: cut files, changed bytes of the header, noise.
  for (size_t cut = 0; cut < length; cut += 1 + length / 97) {
    model = (horq_model *)&model;
    CHECK(horq_model_from_bytes(bytes, cut, NULL, &model) != HORQ_STATUS_OK && model == NULL);
  }
  for (size_t at = 0; at < 400; at += 7) {
    bytes[at] ^= 0x55;
    horq_status status = horq_model_from_bytes(bytes, length, NULL, &model);
    CHECK(status >= HORQ_STATUS_FILE && status <= HORQ_STATUS_TENSOR && strlen(horq_last_error_message()) > 20);
    bytes[at] ^= 0x55;
  }
  memset(bytes, 'x', sizeof bytes);
  REFUSED(HORQ_STATUS_FILE, "", horq_model_from_bytes(bytes, sizeof bytes, NULL, &model));
  REFUSED(HORQ_STATUS_FILE, "no/such/file", horq_model_open("no/such/file", NULL, &model));
  CHECK(horq_last_error_os_code() == 2);
  REFUSED(HORQ_STATUS_FILE, "", horq_model_open("/dev/null", NULL, &model));
  CHECK(horq_last_error_os_code() == 0 && horq_last_error_sample() == HORQ_NO_SAMPLE);
  // A path may be any bytes; a message is one line of text all the same.
  REFUSED(HORQ_STATUS_FILE, "\\n", horq_model_open("a\nb\xff", NULL, &model));
  CHECK(strchr(horq_last_error_message(), '\n') == NULL);
  horq_limits limits = HORQ_LIMITS_INIT;
  limits.file_bytes = 1000;
  REFUSED(HORQ_STATUS_FILE, "1000", horq_model_open(path, &limits, &model));
}

void names_and_shapes(const char *folder) {
  horq_model *model = open_model(folder, "lenet5.horq"), *other;
  horq_value_info info = HORQ_VALUE_INFO_INIT;
  CHECK(horq_model_input_count(model) == 1 && horq_model_output_count(model) == 1);
  DOES(horq_model_input(model, 0, &info));
  CHECK(info.struct_size == sizeof info && strlen(info.name) == info.name_length && info.length == DIGIT);
  CHECK(info.shape.rank == 3 && info.shape.sizes[0] == 28 && info.shape.sizes[1] == 28 && info.shape.sizes[2] == 1);
  DOES(horq_model_output(model, 0, &info));
  CHECK(info.shape.rank == 1 && info.shape.sizes[0] == CLASSES && info.length == CLASSES);
  REFUSED(HORQ_STATUS_INPUT, "no input 1", horq_model_input(model, 1, &info));
  REFUSED(HORQ_STATUS_INPUT, "no output 7", horq_model_output(model, 7, &info));
  char text[4096];
  size_t length = 0;
  DOES(horq_model_note(model, "input", text, sizeof text, &length));
  CHECK(strlen(text) == length && length > 0);
  DOES(horq_model_note(model, "input", NULL, 0, &length));
  DOES(horq_model_note(model, "input", text, length + 1, NULL));
  REFUSED(HORQ_STATUS_INPUT, "capacity", horq_model_note(model, "input", text, length, &length));
  CHECK(text[0] == 0);
  REFUSED(HORQ_STATUS_INPUT, "`nothing`; the model has", horq_model_note(model, "nothing", text, sizeof text, NULL));
  horq_shape shape = {3, {28, 28, 1}};
  DOES(horq_model_resized(model, &shape, 1, &other));
  DOES(horq_model_free(other));
  shape.rank = 2;
  REFUSED(HORQ_STATUS_INPUT, "rank", horq_model_resized(model, &shape, 1, &other));
  REFUSED(HORQ_STATUS_INPUT, "0 shapes", horq_model_resized(model, NULL, 0, &other));
  DOES(horq_model_free(model));
}
