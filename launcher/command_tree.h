// The command line's commands and options as plain values: for completion scripts and the man page,
// which so never disagree with --help.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace px::launcher {

struct OptionEntry {
  std::vector<std::string>
      names;          // with their dashes, short ones first; an operand has one without
  std::string value;  // "FILE"; empty for a flag
  std::string help;
};

struct CommandEntry {
  std::string path;  // "experiment resume"; empty for the program itself
  std::string help;
  std::vector<std::string> commands;  // names of those below it
  std::vector<OptionEntry> options;
};

// The program, then its commands, each before those below it.
std::vector<CommandEntry> CommandTree(const CLI::App& app);

// A list of {"command", "help", "commands", "options"}.
nlohmann::ordered_json TreeJson(const std::vector<CommandEntry>& tree);

// Scripts for the shells; they complete both names of the program.
std::string BashCompletion(const std::vector<CommandEntry>& tree);
std::string ZshCompletion(const std::vector<CommandEntry>& tree);
std::string FishCompletion(const std::vector<CommandEntry>& tree);
// In troff's man macros, section 1.
std::string ManPage(const std::vector<CommandEntry>& tree, const std::string& version);

}  // namespace px::launcher
