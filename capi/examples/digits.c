// Tells what digits are in a file of the format IDX, as MNIST has them: digits MODEL.horq IMAGES.idx3-ubyte
#include <horq.h>

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what) {
  fprintf(stderr, "digits: %s\n", what);
  return 1;
}

static unsigned long big_endian(const unsigned char *bytes) {
  return (unsigned long)bytes[0] << 24 | (unsigned long)bytes[1] << 16 | (unsigned long)bytes[2] << 8 | bytes[3];
}

// Reads one image after another and prints its class.
static int classify(FILE *file, horq_session *session, unsigned long images, size_t pixels) {
  size_t classes = horq_session_output_length(session, 0);
  unsigned char *image = malloc(pixels);
  float *scores = malloc(classes * sizeof *scores);
  int failed = image == NULL || scores == NULL ? fail("there is no memory") : 0;
  for (unsigned long i = 0; i < images && !failed; i++) {
    if (fread(image, 1, pixels, file) != pixels) {
      failed = fail("the file is cut short");
      break;
    }
    horq_input input = {image, pixels, HORQ_U8, 0}; // the network takes 0 to 255, so bytes go in as they are
    horq_output output = {scores, classes};
    if (horq_session_run_with(session, &input, 1, &output, 1, NULL) != HORQ_STATUS_OK) {
      failed = fail(horq_last_error_message());
      break;
    }
    size_t best = 0;
    for (size_t j = 1; j < classes; j++)
      if (scores[j] > scores[best]) best = j;
    printf("image %lu: %zu\n", i, best);
  }
  free(image);
  free(scores);
  return failed;
}

int main(int count, char **arguments) {
  if (count != 3) return fail("usage: digits MODEL.horq IMAGES.idx3-ubyte");
  FILE *file = fopen(arguments[2], "rb");
  if (file == NULL) return fail("cannot read the images");
  unsigned char header[16]; // 0 0 8 3: bytes in three dimensions, each a big-endian number
  int failed = 0;
  horq_model *model = NULL;
  horq_session *session = NULL;
  if (fread(header, 1, 16, file) != 16 || big_endian(header) != 0x803) {
    failed = fail("the images are no IDX file of bytes in three dimensions; if it ends in .gz, unpack it first");
  } else if (horq_model_open(arguments[1], NULL, &model) != HORQ_STATUS_OK ||
             horq_session_new(model, NULL, &session) != HORQ_STATUS_OK) {
    failed = fail(horq_last_error_message());
  } else {
    size_t pixels = (size_t)big_endian(header + 8) * (size_t)big_endian(header + 12);
    failed = pixels == horq_session_input_length(session, 0)
                 ? classify(file, session, big_endian(header + 4), pixels)
                 : fail("the images are of another size than the network takes");
  }
  horq_session_free(session);
  horq_model_free(model);
  fclose(file);
  return failed;
}
