#include "launcher/command_tree.h"

namespace px::launcher {
namespace {

OptionEntry Describe(const CLI::Option& option) {
  OptionEntry entry;
  for (const std::string& name : option.get_snames()) entry.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) {
    // Polyaxon's own spelling, as people type it; RewriteArguments knows it.
    if (name == "experiment") entry.names.emplace_back("-xp");
    entry.names.push_back("--" + name);
  }
  if (entry.names.empty()) entry.names.push_back(option.get_name());
  if (option.get_items_expected_max() > 0) {
    entry.value = option.get_type_name().empty() ? "VALUE" : option.get_type_name();
  }
  entry.help = option.get_description();
  return entry;
}

void Collect(const CLI::App& app, const std::string& path, std::vector<CommandEntry>& tree) {
  CommandEntry entry{.path = path, .help = app.get_description(), .commands = {}, .options = {}};
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* command : commands) entry.commands.push_back(command->get_name());
  for (const CLI::Option* option : app.get_options()) entry.options.push_back(Describe(*option));
  tree.push_back(std::move(entry));
  for (const CLI::App* command : commands) {
    Collect(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), tree);
  }
}

bool IsOperand(const OptionEntry& option) { return !option.names.front().starts_with("-"); }

// Everything that may stand in the place of a word after the command.
std::string Words(const CommandEntry& entry) {
  std::string words;
  for (const std::string& command : entry.commands) words += command + " ";
  for (const OptionEntry& option : entry.options) {
    if (IsOperand(option)) continue;
    for (const std::string& name : option.names) words += name + " ";
  }
  if (!words.empty()) words.pop_back();
  return words;
}

std::string Deeper(const std::vector<CommandEntry>& tree) {
  std::string paths;
  for (const CommandEntry& entry : tree) {
    if (entry.path.empty()) continue;
    paths += (paths.empty() ? "" : "|") + std::string("\"") +
             (entry.path.find(' ') == std::string::npos ? " " : "") + entry.path + "\"";
  }
  return paths;
}

// What bash and zsh call the words of the command line, and where they begin.
struct Dialect {
  const char* words;
  const char* first;
  const char* current;
  const char* files;  // said where a file name follows
};

// From the words before the cursor to $list, what may come next.
std::string Walk(const std::vector<CommandEntry>& tree, const Dialect& shell) {
  const std::string words = shell.words;
  const std::string current = shell.current;
  std::string text = "  for ((i = " + std::string(shell.first) + "; i < " + current +
                     "; i++)); do\n    case \"$at ${" + words + "[i]}\" in\n      " + Deeper(tree) +
                     ") at=\"${at:+$at }${" + words +
                     "[i]}\" ;;\n    esac\n  done\n"
                     "  # A file name follows: the shell's own completion knows those.\n"
                     "  case ${" +
                     words + "[" + current + "-1]} in -f|--file) " + shell.files +
                     "return ;; esac\n  case \"$at\" in\n";
  for (const CommandEntry& entry : tree) {
    text += "    \"" + entry.path + "\") list='" + Words(entry) + "' ;;\n";
  }
  return text + "  esac\n";
}

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("\\'") : std::string(1, c);
  return quoted + "'";
}

// Text for troff: a backslash and a dash mean themselves, and no line is a request.
std::string Roff(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
  }
  return escaped.starts_with(".") || escaped.starts_with("'") ? "\\&" + escaped : escaped;
}

std::string RoffOption(const OptionEntry& option) {
  std::string text = ".TP\n";
  std::string names;
  for (const std::string& name : option.names) {
    names += (names.empty() ? "" : ", ") + std::string("\\fB") + Roff(name) + "\\fR";
  }
  if (!option.value.empty() && !IsOperand(option)) names += " \\fI" + Roff(option.value) + "\\fR";
  return text + names + "\n" + Roff(option.help.empty() ? "-" : option.help) + "\n";
}

constexpr const char* kManEnd = R"(.SH EXIT STATUS
0 done, 1 failed, 2 wrong usage, 10 not found, 11 busy or locked, 12 damaged.
.SH ENVIRONMENT
.TP
\fBPX_HOME\fR
home of what follows; \fI~/.local/share/px\fR
.TP
\fBPX_STORE\fR, \fBPX_OUTPUTS\fR, \fBPX_LOGS\fR
the store, where it is mounted, and the consoles; below \fBPX_HOME\fR
.TP
\fBPX_USER\fR
whose experiments; the login name
.TP
\fBPX_GRACE\fR, \fBPX_HEARTBEAT\fR
seconds between SIGTERM and SIGKILL (10), and between two heartbeats (5)
.TP
\fBPX_LOG_ROTATE\fR, \fBPX_LOG_LIMIT\fR
sizes at which a console goes on in a new file, and which all its files may have
.SH FILES
.TP
\fI$PX_HOME/config.yml\fR, \fI~/.config/px/config.yml\fR
the configuration
.TP
\fI./.polyaxon/\fR
the project of a directory, and the experiment and group last used there
.SH SEE ALSO
.BR px\-fs (1)
)";

}  // namespace

std::vector<CommandEntry> CommandTree(const CLI::App& app) {
  std::vector<CommandEntry> tree;
  Collect(app, "", tree);
  return tree;
}

nlohmann::ordered_json TreeJson(const std::vector<CommandEntry>& tree) {
  auto list = nlohmann::ordered_json::array();
  for (const CommandEntry& entry : tree) {
    auto options = nlohmann::ordered_json::array();
    for (const OptionEntry& option : entry.options) {
      options.push_back({{"names", option.names}, {"value", option.value}, {"help", option.help}});
    }
    list.push_back({{"command", entry.path},
                    {"help", entry.help},
                    {"commands", entry.commands},
                    {"options", options}});
  }
  return list;
}

std::string BashCompletion(const std::vector<CommandEntry>& tree) {
  return "# bash completion of px-launch; made by: px-launch completion bash\n"
         "_px_launch() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} at='' i list=''\n"
         "  COMPREPLY=()\n" +
         Walk(tree, {.words = "COMP_WORDS", .first = "1", .current = "COMP_CWORD", .files = ""}) +
         "  COMPREPLY=($(compgen -W \"$list\" -- \"$cur\"))\n"
         "}\n"
         "complete -o default -F _px_launch px-launch polyaxon\n";
}

std::string ZshCompletion(const std::vector<CommandEntry>& tree) {
  return "#compdef px-launch polyaxon\n"
         "# zsh completion of px-launch; made by: px-launch completion zsh\n"
         "_px_launch() {\n"
         "  local at='' i list=''\n" +
         Walk(tree, {.words = "words", .first = "2", .current = "CURRENT", .files = "_files; "}) +
         "  compadd -- ${=list} || _files\n"
         "}\n"
         "_px_launch \"$@\"\n";
}

std::string FishCompletion(const std::vector<CommandEntry>& tree) {
  std::string text =
      "# fish completion of px-launch; made by: px-launch completion fish\n"
      "function __px_launch_at\n"
      "  set -l at ''\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    switch (string trim -- \"$at $word\")\n"
      "      case ";
  for (const CommandEntry& entry : tree) {
    if (!entry.path.empty()) text += Quoted(entry.path) + " ";
  }
  text +=
      "\n        set at (string trim -- \"$at $word\")\n"
      "    end\n"
      "  end\n"
      "  test \"$at\" = \"$argv\"\n"
      "end\n";
  for (const char* program : {"px-launch", "polyaxon"}) {
    for (const CommandEntry& entry : tree) {
      const std::string start = "complete -c " + std::string(program) + " -n " +
                                Quoted("__px_launch_at " + entry.path) + " ";
      for (const std::string& command : entry.commands) text += start + "-f -a " + command + "\n";
      for (const OptionEntry& option : entry.options) {
        if (IsOperand(option)) continue;
        std::string line = start;
        for (const std::string& name : option.names) {
          if (name.starts_with("--")) {
            line += "-l " + name.substr(2) + " ";
          } else {
            line += (name.size() == 2 ? "-s " : "-o ") + name.substr(1) + " ";
          }
        }
        if (!option.value.empty()) line += "-r ";
        text += line + "-d " + Quoted(option.help) + "\n";
      }
    }
  }
  return text;
}

std::string ManPage(const std::vector<CommandEntry>& tree, const std::string& version) {
  std::string text = ".TH PX\\-LAUNCH 1 \"\" \"" + Roff(version) +
                     "\" \"px\"\n.SH NAME\npx\\-launch, polyaxon \\- " +
                     "run experiments, and resume, restart and copy them\n" +
                     ".SH SYNOPSIS\n.B px\\-launch\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR ...\n";
  for (const CommandEntry& entry : tree) {
    if (entry.path.empty()) {
      text += ".SH OPTIONS\nThey may stand anywhere on the command line.\n";
    } else {
      text += ".SS px\\-launch " + Roff(entry.path) + "\n" + Roff(entry.help) + "\n";
    }
    for (const OptionEntry& option : entry.options) {
      const bool help = option.names.back() == "--help";
      if (!help || entry.path.empty()) text += RoffOption(option);
    }
    if (entry.path.empty()) text += ".SH COMMANDS\n";
  }
  return text + kManEnd;
}

}  // namespace px::launcher
