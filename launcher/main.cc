#include <iostream>

#include "launcher/cli.h"
#include "launcher/mount.h"
#include "launcher/px_outputs_fs.h"

int main(int argc, char** argv) {
  const px::launcher::OutputsFsFactory factory = [](const px::launcher::Config& config)
      -> px::launcher::Outcome<std::unique_ptr<px::launcher::OutputsFs>> {
    PXL_TRY(px::launcher::EnsureMounted(config));
    return std::make_unique<px::launcher::PxOutputsFs>();
  };
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return px::launcher::RunCommandLine(arguments, factory, std::cout, std::cerr);
}
