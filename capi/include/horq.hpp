// A thin C++17 wrapper of horq.h: handles that free themselves, views of buffers, and errors as exceptions.
//
// Each call is the one of horq.h of that name, which has its documentation. Failures throw horq::Error. With HORQ_NO_EXCEPTIONS
// defined before this header, the same calls return horq::Result<T> (or horq::Result<void>), which tells whether there is a value
// and else the error; nothing is thrown then.
//
// Handles can be moved, not copied. A run allocates nothing in this header for models with one input and one output.

#ifndef HORQ_HPP
#define HORQ_HPP

#include <horq.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#ifndef HORQ_NO_EXCEPTIONS
#include <stdexcept>
#endif

namespace horq {

// A view of a buffer of somebody else's, as std::span of C++20, which it is made from as from any container with data and size.
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr Span(T (&array)[N]) noexcept : data_(array), size_(N) {}
  template <class C, class = std::enable_if_t<std::is_convertible_v<
                         std::remove_pointer_t<decltype(std::declval<C &>().data())> (*)[], T (*)[]>>>
  constexpr Span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}

  constexpr T *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr T *begin() const noexcept { return data_; }
  constexpr T *end() const noexcept { return data_ + size_; }
  constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

// What went wrong in a call: its status, a line that says what to do, and the sample at fault.
class Error
#ifndef HORQ_NO_EXCEPTIONS
    : public std::runtime_error
#endif
{
 public:
  // Of the last call of this thread, which returned that status.
  explicit Error(horq_status status)
#ifndef HORQ_NO_EXCEPTIONS
      : std::runtime_error(horq_last_error_message()),
#else
      : message_(horq_last_error_message()),
#endif
        status_(status),
        sample_(horq_last_error_sample()),
        finished_samples_(horq_last_error_finished_samples()) {
  }

  horq_status status() const noexcept { return status_; }
  // HORQ_NO_SAMPLE where no sample's values are at fault.
  std::size_t sample() const noexcept { return sample_; }
  // Of a run that was called off or late.
  std::size_t finished_samples() const noexcept { return finished_samples_; }
#ifdef HORQ_NO_EXCEPTIONS
  const char *what() const noexcept { return message_.c_str(); }

 private:
  std::string message_;
#else

 private:
#endif
  horq_status status_;
  std::size_t sample_;
  std::size_t finished_samples_;
};

#ifdef HORQ_NO_EXCEPTIONS

// A value, or the error in its place.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)), error_(HORQ_STATUS_OK) {}
  Result(Error error) : error_(std::move(error)) {}
  bool ok() const noexcept { return error_.status() == HORQ_STATUS_OK; }
  explicit operator bool() const noexcept { return ok(); }
  const Error &error() const noexcept { return error_; }
  // The value; the program is ended where there is none.
  T &operator*() { return ok() ? value_ : (std::abort(), value_); }
  T *operator->() { return &**this; }

 private:
  T value_{};
  Error error_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() : error_(HORQ_STATUS_OK) {}
  Result(Error error) : error_(std::move(error)) {}
  bool ok() const noexcept { return error_.status() == HORQ_STATUS_OK; }
  explicit operator bool() const noexcept { return ok(); }
  const Error &error() const noexcept { return error_; }

 private:
  Error error_;
};

#else

template <class T>
using Result = T;

#endif

namespace detail {

// What a call returns of its status, and of its value where it has one.
inline Result<void> done(horq_status status) {
#ifdef HORQ_NO_EXCEPTIONS
  return status == HORQ_STATUS_OK ? Result<void>() : Result<void>(Error(status));
#else
  if (status != HORQ_STATUS_OK) throw Error(status);
#endif
}

template <class T>
Result<T> done(horq_status status, T value) {
#ifdef HORQ_NO_EXCEPTIONS
  return status == HORQ_STATUS_OK ? Result<T>(std::move(value)) : Result<T>(Error(status));
#else
  if (status != HORQ_STATUS_OK) throw Error(status);
  return value;
#endif
}

// Text that a call writes into a buffer, once its length is known.
template <class F>
Result<std::string> text(F write) {
  std::size_t length = 0;
  horq_status status = write(nullptr, 0, &length);
  std::string found(status == HORQ_STATUS_OK ? length : 0, '\0');
  if (status == HORQ_STATUS_OK) status = write(found.data(), length + 1, &length);
  return done(status, std::move(found));
}

// A handle that is freed once.
template <class H, horq_status (*Free)(H *)>
class Handle {
 public:
  Handle() noexcept = default;
  explicit Handle(H *handle) noexcept : handle_(handle) {}
  Handle(Handle &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle &operator=(Handle &&other) noexcept {
    if (this != &other) {
      Free(handle_);
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Handle() { Free(handle_); }

  // For calls of horq.h; it stays this object's.
  H *get() const noexcept { return handle_; }
  // Gives the handle away: it is the caller's to free.
  H *release() noexcept { return std::exchange(handle_, nullptr); }
  explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  H *handle_ = nullptr;
};

}  // namespace detail

// The name and the shape of an input or output, the batch left out.
struct Value {
  std::string name;
  std::vector<std::size_t> shape;
  // Values of one sample.
  std::size_t length = 0;
};

struct Limits : horq_limits {
  Limits() noexcept : horq_limits HORQ_LIMITS_INIT {}
};

struct SessionOptions : horq_session_options {
  SessionOptions() noexcept : horq_session_options HORQ_SESSION_OPTIONS_INIT {}
};

class CancelToken : public detail::Handle<horq_cancel_token, horq_cancel_token_free> {
 public:
  using Handle::Handle;
  static Result<CancelToken> make() {
    horq_cancel_token *token = nullptr;
    horq_status status = horq_cancel_token_new(&token);
    return detail::done(status, CancelToken(token));
  }
  void cancel() const noexcept { horq_cancel_token_cancel(get()); }
  bool is_cancelled() const noexcept { return horq_cancel_token_is_cancelled(get()); }
};

struct RunOptions : horq_run_options {
  RunOptions() noexcept : horq_run_options HORQ_RUN_OPTIONS_INIT {}
  template <class Rep, class Period>
  RunOptions &timeout(std::chrono::duration<Rep, Period> time) {
    auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    timeout_ns = ns > 0 ? static_cast<std::uint64_t>(ns) : 0;
    return *this;
  }
  RunOptions &with(const CancelToken &token) noexcept {
    cancel = token.get();
    return *this;
  }
};

// The values of an input: floats, or bytes that stand for 0 to 255.
struct Input : horq_input {
  Input(Span<const float> values) noexcept : horq_input{values.data(), values.size(), HORQ_F32, 0} {}
  Input(Span<const std::uint8_t> values) noexcept : horq_input{values.data(), values.size(), HORQ_U8, 0} {}
  template <class C, std::enable_if_t<std::is_convertible_v<const C &, Span<const float>>, int> = 0>
  Input(const C &values) noexcept : Input(Span<const float>(values)) {}
  template <class C, std::enable_if_t<std::is_convertible_v<const C &, Span<const std::uint8_t>>, int> = 0>
  Input(const C &values) noexcept : Input(Span<const std::uint8_t>(values)) {}
};

struct Output : horq_output {
  Output(Span<float> values) noexcept : horq_output{values.data(), values.size()} {}
  template <class C, std::enable_if_t<std::is_convertible_v<C &, Span<float>>, int> = 0>
  Output(C &values) noexcept : Output(Span<float>(values)) {}
};

// The arrays of these go to C as they are.
static_assert(sizeof(Input) == sizeof(horq_input) && sizeof(Output) == sizeof(horq_output), "no field is added");

class Model : public detail::Handle<horq_model, horq_model_free> {
 public:
  using Handle::Handle;
  static Result<Model> open(const std::string &path, const Limits &limits = {}) {
    return make([&](horq_model **model) { return horq_model_open(path.c_str(), &limits, model); });
  }
  static Result<Model> open_shared(const std::string &path, const Limits &limits = {}) {
    return make([&](horq_model **model) { return horq_model_open_shared(path.c_str(), &limits, model); });
  }
  // Nobody may change the file while anything made from it lives.
  static Result<Model> map_unsafe(const std::string &path, const Limits &limits = {}) {
    return make([&](horq_model **model) { return horq_model_map_unsafe(path.c_str(), &limits, model); });
  }
  static Result<Model> from_bytes(Span<const std::uint8_t> bytes, const Limits &limits = {}) {
    return make([&](horq_model **model) {
      return horq_model_from_bytes(bytes.data(), bytes.size(), &limits, model);
    });
  }
  static Result<Model> from_shared_fd(int fd, const Limits &limits = {}) {
    return make([&](horq_model **model) { return horq_model_from_shared_fd(fd, &limits, model); });
  }
  Result<Model> resized(Span<const horq_shape> shapes) const {
    return make([&](horq_model **model) { return horq_model_resized(get(), shapes.data(), shapes.size(), model); });
  }

  int shared_fd() const noexcept { return horq_model_shared_fd(get()); }
  Result<void> check() const { return detail::done(horq_model_check(get())); }
  Result<void> prefault() const { return detail::done(horq_model_prefault(get())); }
  Result<void> verify_digest() const { return detail::done(horq_model_verify_digest(get())); }
  std::string digest() const {
    const char *digest = horq_model_digest(get());
    return digest != nullptr ? digest : "";
  }
  std::size_t input_count() const noexcept { return horq_model_input_count(get()); }
  std::size_t output_count() const noexcept { return horq_model_output_count(get()); }
  Result<Value> input(std::size_t index) const { return value(horq_model_input, index); }
  Result<Value> output(std::size_t index) const { return value(horq_model_output, index); }
  Result<std::string> note(const std::string &name) const {
    return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
      return horq_model_note(get(), name.c_str(), buffer, capacity, length);
    });
  }

 private:
  template <class F>
  static Result<Model> make(F open) {
    horq_model *model = nullptr;
    horq_status status = open(&model);
    return detail::done(status, Model(model));
  }
  template <class F>
  Result<Value> value(F describe, std::size_t index) const {
    horq_value_info info = HORQ_VALUE_INFO_INIT;
    horq_status status = describe(get(), index, &info);
    Value found;
    if (status == HORQ_STATUS_OK) {
      found.name.assign(info.name, info.name_length);
      found.shape.assign(info.shape.sizes, info.shape.sizes + info.shape.rank);
      found.length = info.length;
    }
    return detail::done(status, std::move(found));
  }
};

class Session : public detail::Handle<horq_session, horq_session_free> {
 public:
  using Handle::Handle;
  static Result<Session> make(const Model &model, const SessionOptions &options = {}) {
    horq_session *session = nullptr;
    horq_status status = horq_session_new(model.get(), &options, &session);
    return detail::done(status, Session(session));
  }

  Result<void> run(Span<const float> input, Span<float> output) {
    return detail::done(horq_session_run(get(), input.data(), input.size(), output.data(), output.size()));
  }
  Result<void> run(const Input &input, const Output &output, const RunOptions &options) {
    return detail::done(horq_session_run_with(get(), &input, 1, &output, 1, &options));
  }
  Result<void> run(Span<const Input> inputs, Span<const Output> outputs, const RunOptions &options = {}) {
    return detail::done(
        horq_session_run_with(get(), inputs.data(), inputs.size(), outputs.data(), outputs.size(), &options));
  }
  Result<void> set_order(unsigned order) { return detail::done(horq_session_set_order(get(), order)); }
  Result<void> set_layer_order(const std::string &layer, unsigned order) {
    return detail::done(horq_session_set_layer_order(get(), layer.c_str(), order));
  }
  // Values of one sample; 0 where there is no such input or output.
  std::size_t input_length(std::size_t index = 0) const noexcept { return horq_session_input_length(get(), index); }
  std::size_t output_length(std::size_t index = 0) const noexcept { return horq_session_output_length(get(), index); }
  Result<horq_session_info> describe() const {
    horq_session_info info = HORQ_SESSION_INFO_INIT;
    horq_status status = horq_session_describe(get(), &info);
    return detail::done(status, info);
  }
  Result<std::string> profile_json() const {
    return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
      return horq_session_profile_json(get(), buffer, capacity, length);
    });
  }
  Result<void> reset_profile() { return detail::done(horq_session_reset_profile(get())); }
};

// Its sessions go back to it when they are destroyed.
class SessionPool : public detail::Handle<horq_session_pool, horq_session_pool_free> {
 public:
  using Handle::Handle;
  static Result<SessionPool> make(const Model &model, std::size_t sessions, const SessionOptions &options = {}) {
    horq_session_pool *pool = nullptr;
    horq_status status = horq_session_pool_new(model.get(), &options, sessions, &pool);
    return detail::done(status, SessionPool(pool));
  }
  Result<Session> try_get() const { return take(0); }
  Result<Session> get_session() const { return take(HORQ_FOREVER); }
  template <class Rep, class Period>
  Result<Session> get_session(std::chrono::duration<Rep, Period> timeout) const {
    auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(timeout).count();
    return take(ns > 0 ? static_cast<std::uint64_t>(ns) : 0);
  }
  std::size_t sessions() const noexcept { return horq_session_pool_sessions(get()); }

 private:
  Result<Session> take(std::uint64_t timeout_ns) const {
    horq_session *session = nullptr;
    horq_status status = horq_session_pool_get(get(), timeout_ns, &session);
    return detail::done(status, Session(session));
  }
};

inline std::string version() { return horq_version(); }

}  // namespace horq

#endif
