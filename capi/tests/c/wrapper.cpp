// The C++ wrapper, as one file in both ways: with exceptions, and with HORQ_NO_EXCEPTIONS. wrapper MODELS
#include <horq.hpp>

#include <array>
#include <cstdio>
#include <cstring>
#if __cplusplus >= 202002L
#include <span>
#endif

#define CHECK(what)                                                                       \
  do {                                                                                    \
    if (!(what)) {                                                                        \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                     \
      std::exit(1);                                                                       \
    }                                                                                     \
  } while (0)

// The value of a call that succeeds, and the error of one that fails, in both ways.
#ifdef HORQ_NO_EXCEPTIONS
template <class T>
T value(horq::Result<T> result) {
  if (!result) std::fprintf(stderr, "%s\n", result.error().what());
  return std::move(*result);
}
inline void value(horq::Result<void> result) { CHECK(result.ok()); }
template <class F>
horq::Error error(F call) {
  auto result = call();
  CHECK(!result);
  return result.error();
}
#else
template <class T>
T value(T result) {
  return result;
}
#define VOID_IS_VALUE
template <class F>
horq::Error error(F call) {
  try {
    (void)call();
  } catch (const horq::Error &error) {
    return error;
  }
  CHECK(!"nothing was thrown");
  std::abort();
}
#endif

#ifdef VOID_IS_VALUE
#define DOES(call) (call)
#else
#define DOES(call) value(call)
#endif

int main(int count, char **arguments) {
  CHECK(count == 2);
  const std::string lenet = std::string(arguments[1]) + "/lenet5.horq";
  auto model = value(horq::Model::open(lenet));
  auto input = value(model.input(0));
  CHECK(input.length == 784 && (input.shape == std::vector<std::size_t>{28, 28, 1}) && model.input_count() == 1);
  CHECK(value(model.output(0)).length == 10 && model.digest().size() == 64 && !value(model.note("input")).empty());
  DOES(model.verify_digest());
  DOES(model.check());
  DOES(model.prefault());
  CHECK(error([&] { return model.input(1); }).status() == HORQ_STATUS_INPUT);
  CHECK(error([&] { return model.note("none"); }).status() == HORQ_STATUS_INPUT);
  auto missing = error([] { return horq::Model::open("no/such/file"); });
  CHECK(missing.status() == HORQ_STATUS_FILE && std::strstr(missing.what(), "no/such/file") != nullptr);
  CHECK(missing.sample() == HORQ_NO_SAMPLE);

  horq::SessionOptions options;
  options.batch = 2;
  auto session = value(horq::Session::make(model, options));
  std::vector<float> pixels(2 * session.input_length(), 1.0f), scores(2 * session.output_length());
  DOES(session.run(pixels, scores));
  std::array<float, 10> one{};
  DOES(session.run(horq::Span<const float>(pixels.data(), 784), one));
  CHECK(std::memcmp(one.data(), scores.data(), sizeof one) == 0);
#if __cplusplus >= 202002L
  DOES(session.run(std::span<const float>(pixels), std::span<float>(scores)));
#endif
  std::vector<std::uint8_t> bytes(784, 1);
  DOES(session.run(bytes, one, horq::RunOptions().timeout(std::chrono::seconds(60))));
  CHECK(std::memcmp(one.data(), scores.data(), sizeof one) == 0);
  std::vector<horq::Input> inputs{horq::Span<const std::uint8_t>(bytes)};
  std::vector<horq::Output> outputs{horq::Span<float>(one)};
  DOES(session.run(inputs, outputs));
  pixels[1000] = 0.0f / (pixels[0] - 1.0f);
  auto bad = error([&] { return session.run(pixels, scores); });
  CHECK(bad.status() == HORQ_STATUS_INPUT && bad.sample() == 1);
  auto token = value(horq::CancelToken::make());
  token.cancel();
  CHECK(token.is_cancelled());
  auto ended = error([&] { return session.run(bytes, one, horq::RunOptions().with(token)); });
  CHECK(ended.status() == HORQ_STATUS_CANCELLED && ended.finished_samples() == 0);
  auto late = error([&] { return session.run(bytes, one, horq::RunOptions().timeout(std::chrono::seconds(-1))); });
  CHECK(late.status() == HORQ_STATUS_DEADLINE);
  DOES(session.set_order(1));
  CHECK(value(session.describe()).order == 1);
  CHECK(error([&] { return session.set_layer_order("none", 1); }).status() == HORQ_STATUS_INPUT);
  CHECK(value(session.profile_json()).find("\"layers\"") != std::string::npos);

  // Handles move, and free what they had.
  auto moved = std::move(session);
  CHECK(moved && !session);
  CHECK(error([&] { return session.set_order(1); }).status() == HORQ_STATUS_INPUT);
  moved = value(horq::Session::make(model));
  auto pool = value(horq::SessionPool::make(model, 1));
  model = horq::Model();
  {
    auto lent = value(pool.try_get());
    CHECK(error([&] { return pool.try_get(); }).status() == HORQ_STATUS_BUSY);
    CHECK(error([&] { return pool.get_session(std::chrono::milliseconds(5)); }).status() == HORQ_STATUS_BUSY);
    DOES(lent.run(horq::Span<const float>(pixels.data(), 784), one));
  }
  auto again = value(pool.get_session());
  CHECK(again && pool.sessions() == 1);
#ifdef __linux__
  auto shared = value(horq::Model::open_shared(lenet));
  auto same = value(horq::Model::from_shared_fd(shared.shared_fd()));
  CHECK(same.digest() == shared.digest());
#endif
  std::printf("the wrapper works with horq %s\n", horq::version().c_str());
  return 0;
}
