// A curve drawn with characters.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace px::launcher {

struct PlotSize {
  int columns = 60;
  int rows = 10;
};

// The values in their order from left to right, the lowest and the highest named beside them. Of
// several in one column their range is drawn. Values that are not finite are left out; without any
// it says so.
void PrintPlot(std::ostream& out, const std::string& title, const std::vector<double>& values,
               const PlotSize& size = {});

}  // namespace px::launcher
