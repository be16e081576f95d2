// Uses the C library as programs do, and as they should not: suite MODELS, where MODELS is the folder of the bundled models.
// It is run plainly, under valgrind and with AddressSanitizer.
#include "suite.h"

int main(int count, char **arguments) {
  static const struct {
    const char *name;
    void (*test)(const char *folder);
  } tests[] = {
      {"ways to open", ways_to_open},
      {"names and shapes", names_and_shapes},
      {"lengths and pointers", lengths_and_pointers},
      {"several values and bytes", several_values_and_bytes},
      {"sizes of structs", sizes_of_structs},
      {"orders and profiles", orders_and_profiles},
      {"wrong handles", wrong_handles},
      {"freed in any order", freed_in_any_order},
      {"called off", called_off},
      {"one thread at a time", one_thread_at_a_time},
      {"pools", pools},
      {"the machine", the_machine},
  };
  if (count != 2) {
    fprintf(stderr, "usage: suite MODELS\n");
    return 2;
  }
  CHECK(horq_abi_version() == HORQ_ABI_VERSION);
  CHECK(strcmp(horq_last_error_message(), "") == 0);
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    printf("%s\n", tests[i].name);
    fflush(stdout);
    tests[i].test(arguments[1]);
  }
  printf("%zu tests passed with horq %s on %s\n", sizeof tests / sizeof *tests, horq_version(), horq_isa());
  return 0;
}
