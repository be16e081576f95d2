// The C library of horq: CPU inference for binary neural networks with residual activations.
// Made by cbindgen from the sources; do not edit. Licensed under MIT or Apache-2.0, at your choice.
//
// Every call that can fail returns a horq_status: HORQ_STATUS_OK (0) or what went wrong. horq_last_error_message() then says in one
// line what was wrong and what to do. The message belongs to the calling thread and stays until that thread's next failed call.
//
// Handles. A model, a session pool and a cancel token may be used by any number of threads at the same time. A session is for
// one thread at a time; a call while another thread runs it is refused with HORQ_STATUS_BUSY. What a handle was made from may be
// freed before it, in any order. A handle may be freed once, after its last use; NULL may be freed always. A freed handle, or
// one of another kind, is refused where the memory still tells.
//
// Pointers must be NULL, where that is allowed, or lead to as many elements as the call says, which nobody else writes meanwhile.
// NULL in other places, misaligned values, buffers that overlap and lengths that do not fit are refused with HORQ_STATUS_INPUT.
//
// Structs of options begin with their size, so that programs and libraries of different versions go together. Start with the
// macro HORQ_..._INIT. In a struct that is all zero but for its size each field has its default, but for the times of
// horq_run_options, where 0 is no time at all. Fields that a program's header does not know have their default; fields that a
// library does not know are refused unless they are zero.
//
// Values are in NHWC order: samples one after another, of an image its rows, of a row its pixels, of a pixel its channels.
//
// No call unwinds into its caller. HORQ_ISA and HORQ_REQUIRE_ISA are the only settings that are read from the environment.


#ifndef HORQ_H
#define HORQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What horq_last_error_sample() returns where no sample is at fault.
#define HORQ_NO_SAMPLE SIZE_MAX

// The limits of the format.
#define HORQ_LIMITS_INIT {sizeof(horq_limits), 0, 0, 0, 0, 0}

// One sample, the caller's thread alone, the best kernels, each layer's highest order, no profile.
#define HORQ_SESSION_OPTIONS_INIT {sizeof(horq_session_options), 0, 0, NULL, 0, 0}

// Nothing ends the run early.
#define HORQ_RUN_OPTIONS_INIT {sizeof(horq_run_options), HORQ_FOREVER, HORQ_FOREVER, NULL, 0}

// A struct for horq_model_input and horq_model_output to fill.
#define HORQ_VALUE_INFO_INIT {sizeof(horq_value_info), NULL, 0, 0, {0, {0, 0, 0}}}

// A struct for horq_session_describe to fill.
#define HORQ_SESSION_INFO_INIT {sizeof(horq_session_info), 0, 0, 0, 0, NULL, 0, 0}


// A time in nanoseconds that never comes: no timeout, no deadline.
#define HORQ_FOREVER UINT64_MAX



// What horq_abi_version() returns for a library that this header fits. Calls, and fields at the end of structs, may be added
// under the same number.
#define HORQ_ABI_VERSION 1

// The type of an input's values: float.
#define HORQ_F32 0

// The type of an input's values: bytes, which stand for 0 to 255, as decoders of images give them.
#define HORQ_U8 1

// What a call returns.
enum horq_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It did what it says.
  HORQ_STATUS_OK = 0,
  // A file that is no model, or cannot be read. Get another file.
  HORQ_STATUS_FILE = 1,
  // A model whose graph breaks a rule. Export it again.
  HORQ_STATUS_GRAPH = 2,
  // A model whose tensors break a rule. Export it again.
  HORQ_STATUS_TENSOR = 3,
  // An argument or a value that does not fit. Call with others; horq_last_error_sample() tells the sample at fault.
  HORQ_STATUS_INPUT = 4,
  // Memory or threads that cannot be had. Free some, ask for less, or raise a limit.
  HORQ_STATUS_RESOURCE = 5,
  // A layer or a backend that no kernel of this CPU runs. Run elsewhere, or change the layer.
  HORQ_STATUS_CPU = 6,
  // The run was called off by its cancel token. The session can run again at once.
  HORQ_STATUS_CANCELLED = 7,
  // The run was past its deadline. The session can run again at once.
  HORQ_STATUS_DEADLINE = 8,
  // All sessions of the pool are out, or another thread is using the session. Try again later, or take another.
  HORQ_STATUS_BUSY = 9,
  // A fault of the library. Please report it.
  HORQ_STATUS_INTERNAL = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum horq_status horq_status;
#else
typedef int32_t horq_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Calls runs off: all those that were given it in their horq_run_options, on any thread, under way or not begun. It stays
// cancelled, so a request gets a token of its own.
typedef struct horq_cancel_token horq_cancel_token;

// A validated file in memory. It never changes; any number of threads may use it, and what is made from it shares its weights.
typedef struct horq_model horq_model;

// A model made ready to run, with all the memory that it needs. It belongs to one thread at a time.
typedef struct horq_session horq_session;

// A fixed number of sessions over one model, lent one by one to any number of threads.
typedef struct horq_session_pool horq_session_pool;

// What a model may ask for; 0 in a field is the format's own limit. Those of the file can be lowered, not raised.
typedef struct {
  // sizeof(horq_limits).
  size_t struct_size;
  // Bytes of the file.
  uint64_t file_bytes;
  // Bytes of the header. Opening takes the file's size and at most 32 bytes for each byte of the header.
  size_t header_bytes;
  // Nodes of the graph.
  size_t nodes;
  // Elements of any value of one sample.
  size_t value_elements;
  // Bytes that one session may take beside the file: 4 GiB by default. May be raised.
  size_t session_bytes;
} horq_limits;

// The shape of one sample's value, the batch left out.
typedef struct {
  // 1 for a vector, 3 for an image.
  size_t rank;
  // Of a vector its length; of an image its height, width and channels.
  size_t sizes[3];
} horq_shape;

// An input or an output of a model.
typedef struct {
  // sizeof(horq_value_info).
  size_t struct_size;
  // Its name: UTF-8 as the file has it, with a zero byte behind it. It lives as long as the model's handle.
  const char *name;
  // Bytes of the name, the zero byte left out.
  size_t name_length;
  // Values of one sample: the product of its sizes.
  size_t length;
  // Its shape, the batch left out.
  horq_shape shape;
} horq_value_info;

// How a session is made; 0 in a field is the default.
typedef struct {
  // sizeof(horq_session_options).
  size_t struct_size;
  // The most samples of one run; 1 by default.
  size_t batch;
  // Threads that work on a run, the caller's among them; 1 by default, which is best for small networks and for services that
  // keep their cores busy with many sessions.
  size_t threads;
  // The backend: "portable", "sse42", "avx2", "avx512bw", "avx512vpopcnt", "neon". NULL for the one that HORQ_ISA names,
  // else the best of this CPU.
  const char *isa;
  // The order of all binary layers, 1 to 8, or their highest where that is lower; by default each layer's highest.
  uint32_t order;
  // Other than 0 to measure where the time goes, for horq_session_profile_json.
  uint32_t profile;
} horq_session_options;

// The values of one input of a run: its samples one after another, NHWC, without gaps.
typedef struct {
  // The values.
  const void *data;
  // How many values there are, of all samples.
  size_t length;
  // HORQ_F32 or HORQ_U8.
  uint32_t kind;
  // 0.
  uint32_t reserved;
} horq_input;

// Where one output of a run goes: as many samples as the inputs have, one after another.
typedef struct {
  // The values. What they are after a run that failed is unspecified.
  float *data;
  // How many values there are, of all samples.
  size_t length;
} horq_output;

// What may end a run early, and where errors count samples from. Start with HORQ_RUN_OPTIONS_INIT: 0 ns are no time at all.
typedef struct {
  // sizeof(horq_run_options).
  size_t struct_size;
  // Nanoseconds that the run may take from now on; HORQ_FOREVER for no limit.
  uint64_t timeout_ns;
  // When the run must end, on the clock of horq_now_ns(); HORQ_FOREVER for no limit. The earlier of the two counts.
  uint64_t deadline_ns;
  // Ends the run when it is cancelled; or NULL. It may be freed meanwhile.
  const horq_cancel_token *cancel;
  // The number that errors give the first sample; for a batch in parts.
  size_t first_sample;
} horq_run_options;

// What a session is and takes.
typedef struct {
  // sizeof(horq_session_info).
  size_t struct_size;
  // The most samples of one run.
  size_t batch;
  // Inputs and outputs of a run.
  size_t input_count;
  // See input_count.
  size_t output_count;
  // Bytes that count against session_bytes of horq_limits.
  size_t memory_bytes;
  // The backend in use; lives as long as the program.
  const char *isa;
  // The highest order of any binary layer at present, and the highest that the model holds; 0 without binary layers.
  uint32_t order;
  // See order.
  uint32_t max_order;
} horq_session_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a token that nobody has cancelled.
horq_status horq_cancel_token_new(horq_cancel_token **token);

// Calls all runs with this token off; they end within a millisecond or so. One atomic store, so a signal handler may do it with
// a token that is alive.
horq_status horq_cancel_token_cancel(const horq_cancel_token *token);

// Whether the token was cancelled; false for NULL.
bool horq_cancel_token_is_cancelled(const horq_cancel_token *token);

// Frees a token. Runs that have it go on, and end when it was cancelled before.
horq_status horq_cancel_token_free(horq_cancel_token *token);

// Nanoseconds on the clock that deadlines are told by. On Unix it is CLOCK_MONOTONIC. 0 where it cannot be read.
uint64_t horq_now_ns(void);

// What was wrong in the last call of this thread that failed, and what to do: one line of UTF-8, without control characters.
// Never NULL; "" if none failed. It stays where it is until the next call of this thread that fails.
const char *horq_last_error_message(void);

// The sample whose values were at fault in the last call of this thread that failed, counted from first_sample of its
// horq_run_options on: the first of those that are. The others may be run again without it. HORQ_NO_SAMPLE where no sample's
// values are at fault.
size_t horq_last_error_sample(void);

// How many samples were finished when the last failed call of this thread was a run that was called off or late; else 0.
size_t horq_last_error_finished_samples(void);

// The number that the operating system gave (errno) if the last failed call of this thread could not read a file; else 0.
int32_t horq_last_error_os_code(void);

// The version of the binary interface: HORQ_ABI_VERSION of the header that the library was built with. A program whose header has
// another must not go on.
uint32_t horq_abi_version(void);

// The version of the library, such as "0.1.0". It lives as long as the program.
const char *horq_version(void);

// The backend that a session uses unless its options name one: the one that HORQ_ISA names, else the best of this CPU. It lives as
// long as the program. NULL, with a message, if HORQ_ISA or HORQ_REQUIRE_ISA names one that this CPU lacks.
const char *horq_isa(void);

// The number that every backend of every CPU must give in the self-test of this version: 16 hex digits. It lives as long as
// the program.
const char *horq_fingerprint(void);

// Runs the self-test on one backend (NULL for that of horq_isa()) and writes the number that it gives and a zero byte to `number`,
// 17 bytes. It takes a few tenths of a second.
horq_status horq_selftest_number(const char *isa,
                                 char *number);

// Runs the self-test on every backend of this CPU: HORQ_STATUS_OK if all give the number that they must. HORQ_STATUS_CPU if one does
// not; the message names it and the first layer that differs. It takes a second or so.
horq_status horq_selftest(void);

// Reads a file into memory and validates it. `limits` may be NULL.
horq_status horq_model_open(const char *path, const horq_limits *limits, horq_model **model);

// Reads a file into shared memory that nobody can change any more (a sealed memfd of Linux; elsewhere this is horq_model_open), and
// validates it. Forked children use the same memory, and any process that gets the descriptor (horq_model_shared_fd). `limits`
// may be NULL.
horq_status horq_model_open_shared(const char *path,
                                   const horq_limits *limits,
                                   horq_model **model);

// Maps a file: no copy, and processes share its memory. Unsafe, since nobody may change or cut the file while the model or
// anything made from it lives: answers would change, or the process would be ended (SIGBUS). A file that is only ever replaced
// by renaming is safe; horq_model_open_shared is the way for all others. The values of weights are checked by the first session
// or by horq_model_check. `limits` may be NULL.
horq_status horq_model_map_unsafe(const char *path,
                                  const horq_limits *limits,
                                  horq_model **model);

// Copies the bytes of a file and validates them. `limits` may be NULL.
horq_status horq_model_from_bytes(const uint8_t *bytes,
                                  size_t length,
                                  const horq_limits *limits,
                                  horq_model **model);

// The model in the shared memory of another process, without a copy. `fd` is what horq_model_shared_fd returned there, handed
// over; it is duplicated, and stays the caller's. Memory that is not sealed is refused. Linux alone. `limits` may be NULL.
horq_status horq_model_from_shared_fd(int32_t fd,
                                      const horq_limits *limits,
                                      horq_model **model);

// The descriptor of a model's shared memory, which stays the model's; -1 for a model that is in no shared memory. It is closed on
// exec: give a program that is to be started a duplicate without that flag.
int32_t horq_model_shared_fd(const horq_model *model);

// The same network for inputs of other sizes, one shape an input; the two models share their weights.
horq_status horq_model_resized(const horq_model *model,
                               const horq_shape *shapes,
                               size_t count,
                               horq_model **resized);

// Checks the values of all weights, which reads the whole file once. Only a model that was mapped or came as a descriptor has
// something left to check, and its first session does it.
horq_status horq_model_check(const horq_model *model);

// Reads the pages of a mapped file now, all at once, so that no run waits for one.
horq_status horq_model_prefault(const horq_model *model);

// Checks the digest of the file's data, which finds accidents: cut copies, failing disks, edits.
horq_status horq_model_verify_digest(const horq_model *model);

// The file's digest, 64 hex digits; lives as long as the handle. NULL for NULL.
const char *horq_model_digest(const horq_model *model);

// How many inputs the model has; 0 for NULL.
size_t horq_model_input_count(const horq_model *model);

// How many outputs the model has; 0 for NULL.
size_t horq_model_output_count(const horq_model *model);

// Tells the name and shape of an input, counted from 0. Start `info` with HORQ_VALUE_INFO_INIT.
horq_status horq_model_input(const horq_model *model, size_t index, horq_value_info *info);

// Tells the name and shape of an output, counted from 0. Start `info` with HORQ_VALUE_INFO_INIT.
horq_status horq_model_output(const horq_model *model, size_t index, horq_value_info *info);

// Writes the note of that name and a zero byte into a buffer, and its length, the zero byte left out, to `length`: how inputs are to
// be prepared (`input`), names of classes. A model without that note is HORQ_STATUS_INPUT, and its message lists those that it has.
// With a NULL buffer and the capacity 0 only the length is told.
horq_status horq_model_note(const horq_model *model,
                            const char *name,
                            char *buffer,
                            size_t capacity,
                            size_t *length);

// How many samples with their answers the file carries for a self-test; 0 if none.
size_t horq_model_golden_samples(const horq_model *model);

// Where the file's own samples for an input lie, one after another; they live as long as the handle.
horq_status horq_model_golden_input(const horq_model *model,
                                    size_t index,
                                    const float **values,
                                    size_t *length);

// Where the answers to the file's own samples lie for an output, as its producer computed them at each layer's highest order;
// they live as long as the handle.
horq_status horq_model_golden_output(const horq_model *model,
                                     size_t index,
                                     const float **values,
                                     size_t *length);

// Frees a model. Sessions and pools that were made from it go on.
horq_status horq_model_free(horq_model *model);

// Makes `sessions` sessions of a model, all alike. `options` may be NULL; with several threads each session has threads of its own.
horq_status horq_session_pool_new(const horq_model *model,
                                  const horq_session_options *options,
                                  size_t sessions,
                                  horq_session_pool **pool);

// Takes a session, waiting at most that long for one: 0 not at all, HORQ_FOREVER as long as it takes. HORQ_STATUS_BUSY if none came
// back. Those who wait are served in the order in which they came. horq_session_free gives the session back.
horq_status horq_session_pool_get(const horq_session_pool *pool,
                                  uint64_t timeout_ns,
                                  horq_session **session);

// Takes a session, waiting for one until that time on the clock of horq_now_ns() at most; the same deadline is then the run's.
// HORQ_STATUS_BUSY if none came back.
horq_status horq_session_pool_get_until(const horq_session_pool *pool,
                                        uint64_t deadline_ns,
                                        horq_session **session);

// Tells how many sessions nobody has at this moment and how many callers wait for one: figures for a display, old when they are
// read. `idle` and `waiting` may be NULL.
horq_status horq_session_pool_state(const horq_session_pool *pool,
                                    size_t *idle,
                                    size_t *waiting);

// The sessions of the pool, lent ones among them; 0 for NULL.
size_t horq_session_pool_sessions(const horq_session_pool *pool);

// Frees a pool. Sessions that are out go on and are freed when they are given back.
horq_status horq_session_pool_free(horq_session_pool *pool);

// Prepares a model: chooses kernels, plans the memory and allocates it. `options` may be NULL.
horq_status horq_session_new(const horq_model *model,
                             const horq_session_options *options,
                             horq_session **session);

// Answers 1 to `batch` samples of a model with one input and one output. `input` has input_length values, a whole number of samples
// one after another; `output` has output_length, for as many samples. A run on one thread that succeeds allocates nothing, takes no
// lock and makes no system call.
horq_status horq_session_run(horq_session *session,
                             const float *input,
                             size_t input_length,
                             float *output,
                             size_t output_length);

// Answers samples of a model with any number of inputs and outputs, in the model's order, all of the same number of samples; and
// ends early where `options` say so. `options` may be NULL. The first run that is given an input as bytes takes memory to widen it.
//
// A run that is called off or late returns within a millisecond or so, with HORQ_STATUS_CANCELLED or HORQ_STATUS_DEADLINE.
horq_status horq_session_run_with(horq_session *session,
                                  const horq_input *inputs,
                                  size_t input_count,
                                  const horq_output *outputs,
                                  size_t output_count,
                                  const horq_run_options *options);

// Runs every binary layer at that order, 1 to 8, or at its highest where that is lower. It takes effect at the next run and costs
// nothing.
horq_status horq_session_set_order(horq_session *session,
                                   uint32_t order);

// Runs the binary layer of that name at that order, which the model must hold for it.
horq_status horq_session_set_layer_order(horq_session *session, const char *layer, uint32_t order);

// Values of one sample of an input, counted from 0; 0 for NULL, and where the model has no such input.
size_t horq_session_input_length(const horq_session *session, size_t index);

// Values of one sample of an output, counted from 0; 0 for NULL, and where the model has no such output.
size_t horq_session_output_length(const horq_session *session, size_t index);

// Tells what a session is and takes. Start `info` with HORQ_SESSION_INFO_INIT.
horq_status horq_session_describe(const horq_session *session, horq_session_info *info);

// Writes what each layer is and, in a session with `profile`, what it has cost since the last reset, as JSON with a zero byte behind it
// into a buffer, and its length, the zero byte left out, to `length`. With a NULL buffer and the capacity 0 only the length is told.
horq_status horq_session_profile_json(const horq_session *session,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *length);

// Forgets the times measured so far.
horq_status horq_session_reset_profile(horq_session *session);

// Frees a session; one of a pool goes back to it, with the order that the pool's options name. Refused with HORQ_STATUS_BUSY while
// another thread runs it: then nothing is freed.
horq_status horq_session_free(horq_session *session);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HORQ_H */
