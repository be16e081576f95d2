// Tells what is in a picture in the format PPM (P6, 8 bits) of the size that the network takes: picture MODEL.horq PICTURE.ppm
#include <horq.hpp>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>

// The next number of a header; comments go from # to the end of the line.
static std::size_t number(std::istream &file) {
  while ((file >> std::ws).peek() == '#') file.ignore(1 << 16, '\n');
  std::size_t value = 0;
  if (!(file >> value) || value > 1 << 16) throw std::runtime_error("the picture's header is none of PPM");
  return value;
}

static std::vector<std::uint8_t> pixels(const std::string &path, const std::vector<std::size_t> &shape) {
  std::ifstream file(path, std::ios::binary);
  char magic[2] = {};
  if (!file.read(magic, 2) || magic[0] != 'P' || magic[1] != '6') {
    throw std::runtime_error(path + " is no PPM file of bytes (P6)");
  }
  const std::size_t width = number(file), height = number(file), highest = number(file);
  if (highest != 255) throw std::runtime_error("the picture does not have 8 bits a channel");
  if (shape != std::vector<std::size_t>{height, width, 3}) {
    throw std::runtime_error("the picture is of another size than the network takes");
  }
  file.get(); // the one blank behind the header
  std::vector<std::uint8_t> bytes((std::istreambuf_iterator<char>(file)), {});
  if (bytes.size() != width * height * 3) throw std::runtime_error("the picture is cut short, or too long");
  return bytes;
}

int main(int count, char **arguments) try {
  if (count != 3) throw std::runtime_error("usage: picture MODEL.horq PICTURE.ppm");
  const auto model = horq::Model::open(arguments[1]);
  auto session = horq::Session::make(model);
  const auto picture = pixels(arguments[2], model.input(0).shape);
  std::vector<float> scores(session.output_length());
  session.run(picture, scores, horq::RunOptions().timeout(std::chrono::minutes(1)));
  const auto best = std::max_element(scores.begin(), scores.end());
  std::cout << "class " << best - scores.begin() << " of " << scores.size() << ", score " << *best << '\n';
} catch (const std::exception &error) {
  std::cerr << "picture: " << error.what() << '\n';
  return 1;
}
