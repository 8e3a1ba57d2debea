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
                   const std::string script = *shell == "bash"  ? BashCompletion(tree)
                                              : *shell == "zsh" ? ZshCompletion(tree)
                                                                : FishCompletion(tree);
                   if (context.json()) {
                     context.Answer({{"shell", *shell}, {"script", script}});
                   } else {
                     context.out() << script;
                   }
                   return {};
                 });
  completion->add_option("SHELL", *shell, "bash, zsh or fish.")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  AddCommand(app, session, "man",
             "Print the manual page, for man -l -; with --json all commands and options.",
             [&app, version](Context& context, Session&) -> Done {
               if (context.json()) {
                 context.Answer(TreeJson(CommandTree(app)));
               } else {
                 context.out() << ManPage(CommandTree(app), version);
               }
               return {};
             });
}

}  // namespace px::launcher
