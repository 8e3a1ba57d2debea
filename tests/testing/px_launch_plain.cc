// px-launch with outputs on plain directories: for tests on machines without /dev/fuse.
#include <iostream>

#include "launcher/cli.h"
#include "tests/testing/dir_outputs_fs.h"

int main(int argc, char** argv) {
  const px::launcher::OutputsFsFactory factory = [](const px::launcher::Config&)
      -> px::launcher::Outcome<std::unique_ptr<px::launcher::OutputsFs>> {
    return std::make_unique<px::testing::DirOutputsFs>();
  };
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return px::launcher::RunCommandLine(arguments, factory, std::cout, std::cerr);
}
