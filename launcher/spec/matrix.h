// Reads the entries of hptuning.matrix. Internal to launcher/spec.
#pragma once

#include <optional>
#include <string>

#include "launcher/spec/checker.h"
#include "launcher/spec/group.h"

namespace px::spec {

// One entry of the matrix, such as {linspace: '0:1:5'}. Nothing if it has a problem, which is added
// to `checker`, or a template that is still open.
std::optional<Parameter> ReadParameter(Checker& checker, const std::string& name,
                                       const Json& section, const std::string& pointer);

// The values of numpy.arange, linspace, logspace and geomspace for the same arguments.
std::vector<Json> Arange(const Json& start, const Json& stop, const Json& step);
std::vector<double> Linspace(double start, double stop, int64_t num);
std::vector<double> Logspace(double start, double stop, int64_t num, double base);
std::vector<double> Geomspace(double start, double stop, int64_t num);

}  // namespace px::spec
