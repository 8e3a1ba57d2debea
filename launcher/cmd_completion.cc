// px-launch completion bash|zsh|fish, px-launch man
#include <memory>

#include "launcher/command_tree.h"
#include "launcher/session.h"

namespace px::launcher {

void AddCompletion(CLI::App& app, Session& session, const std::string& version) {
  auto shell = std::make_shared<std::string>();
  CLI::App* completion =
      AddCommand(app, session, "completion", "Print a shell's completion script.",
                 [&app, shell](Context& context, Session&) -> Done {
                   const auto tree = CommandTree(app);
                   context.out() << (*shell == "bash"  ? BashCompletion(tree)
                                     : *shell == "zsh" ? ZshCompletion(tree)
                                                       : FishCompletion(tree));
                   return {};
                 });
  completion->add_option("SHELL", *shell, "bash, zsh or fish.")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  AddCommand(app, session, "man", "Print the manual page, for man -l -.",
             [&app, version](Context& context, Session&) -> Done {
               context.out() << ManPage(CommandTree(app), version);
               return {};
             });
}

}  // namespace px::launcher
