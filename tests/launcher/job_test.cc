// Jobs and builds, and the container engine: a stand-in for podman that writes down what it is
// asked for, and runs the command of `run` on the machine itself.
#include <sys/stat.h>

#include <filesystem>

#include "tests/launcher/launcher_fixture.h"

namespace px::testing {
namespace {

class JobTest : public LauncherTest {
 protected:
  static constexpr const char* kJob =
      "version: 1\nkind: job\nparams: {n: 3}\n"
      "run: {cmd: 'echo n={{ n }} $POLYAXON_JOB_INFO; echo x >> $POLYAXON_OUTPUTS_PATH/a.pt'}\n";

  // Its name begins like podman's: no docker.
  std::string Engine() {
    const std::string path = home_ + "/podman-fake";
    Write("../podman-fake", "#!/bin/bash\nprintf '%s\\n' \"$*\" >> " + home_ +
                                "/asked\n"
                                "case $1 in\n"
                                "  build) cat >> " +
                                home_ +
                                "/dockerfile ;;\n"
                                "  run) while [ $1 != /bin/bash ]; do shift; done; exec \"$@\" ;;\n"
                                "esac\n");
    ::chmod(path.c_str(), 0755);
    return "PX_ENGINE=" + path;
  }
};

TEST_P(JobTest, AJobHasItsPlaceItsNameAndItsCommands) {
  Write("polyaxonfile.yml", kJob);
  EXPECT_EQ(Launch({"run"}).out, "Creating a job.\nJob 1 was created\n");
  EXPECT_EQ(WaitEnd("job", 1), "succeeded");
  const auto job = Json({"job", "get"});  // run made it the current one
  EXPECT_EQ(job["unique_name"], "user.demo.jobs.1");
  EXPECT_EQ(job["kind"], "job");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/jobs/1/a.pt"), "x\n");
  const std::string log = Launch({"job", "-j", "1", "logs", "--hide_time"}).out;
  EXPECT_EQ(log.find("n=3 {"), 0U) << log;
  EXPECT_NE(log.find("\"job_name\":\"user.demo.jobs.1\""), std::string::npos) << log;
  for (const char* verb : {"statuses", "resources", "outputs", "code", "bookmark", "unbookmark"}) {
    EXPECT_EQ(Launch({"job", "-j", "1", verb}).exit_code, 0) << verb;
  }
  EXPECT_EQ(Launch({"job", "-j", "1", "resume"}).out, "Job was resumed with id 2\n");
  EXPECT_EQ(WaitEnd("job", 2), "succeeded");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/jobs/1/a.pt"), "x\nx\n");
  EXPECT_EQ(Launch({"job", "-j", "1", "restart", "--copy"}).out, "Job was copied with id 3\n");
  EXPECT_EQ(WaitEnd("job", 3), "succeeded");
  EXPECT_EQ(ReadFile(home_ + "/outputs/user/demo/jobs/3/a.pt"), "x\nx\nx\n");
  EXPECT_EQ(Json({"project", "jobs"}).size(), 3U);
  EXPECT_EQ(Json({"project", "experiments"}).size(), 0U);
  EXPECT_EQ(Launch({"job", "-j", "3", "delete", "-y"}).out.find("Job `3` was delete successfully"),
            0U);
  EXPECT_EQ(Json({"project", "jobs"}).size(), 2U);
}

TEST_P(JobTest, ANumberIsOfOneKind) {
  SubmitSpec(kJob);
  const CommandResult wrong = Launch({"experiment", "-xp", "1", "get"});
  EXPECT_EQ(wrong.exit_code, 10);
  EXPECT_NE(wrong.err.find("it is a job\nhint: px-launch job -j 1 get"), std::string::npos)
      << wrong.err;
  EXPECT_EQ(Run("true"), 2);
  EXPECT_EQ(Launch({"job", "-j", "9", "get"}).exit_code, 10);
}

TEST_P(JobTest, AnExperimentReadsTheOutputsOfAJob) {
  SubmitSpec(kJob);
  WaitEnd("job", 1);
  SubmitSpec(
      "version: 1\nkind: experiment\nenvironment: {outputs: {jobs: [1]}}\n"
      "run: {cmd: 'echo $POLYAXON_REFS_OUTPUTS_PATHS'}\n");
  WaitDone(2);
  EXPECT_EQ(Logs(2), "{\"jobs\":[\"" + home_ + "/outputs/user/demo/jobs/1\"]}\n");
}

TEST_P(JobTest, ABuildWithoutAnEngineIsRefusedAndAnExperimentSaysThatItRunsHere) {
  Write("build.yml", "version: 1\nkind: build\nimage: base:1\nbuild_steps: [make]\n");
  const CommandResult refused = Launch({"run", "-f", "build.yml"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("cannot build an image"), std::string::npos) << refused.err;
  EXPECT_EQ(Json({"project", "builds"}).size(), 0U);
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\nbuild: {image: 'base:1', env_vars: [[A, b]]}\n"
        "run: {cmd: 'echo A=$A'}\n");
  const CommandResult run = Launch({"run"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_NE(run.err.find("The command runs on this machine itself."), std::string::npos);
  WaitDone(1);
  EXPECT_EQ(Logs(1), "A=b\n");
  Write("group.yml",
        "version: 1\nkind: group\nbuild: {image: 'base:1'}\n"
        "hptuning: {matrix: {lr: {values: [1]}}}\nrun: {cmd: 'true'}\n");
  EXPECT_NE(Launch({"run", "-f", "group.yml"}).err.find("runs on this machine itself."),
            std::string::npos);
}

TEST_P(JobTest, ABuildIsMadeByTheEngine) {
  Write(
      "build.yml",
      "version: 1\nkind: build\nimage: base:1\nbuild_steps: [make all]\nenv_vars: [[A, 'b c']]\n");
  const CommandResult run = LaunchWith({Engine()}, {"run", "-f", "build.yml"});
  EXPECT_EQ(run.out, "Creating a build.\nBuild 1 was created\n") << run.err;
  EXPECT_EQ(WaitEnd("build", 1), "succeeded");
  EXPECT_EQ(ReadFile(home_ + "/dockerfile"),
            "FROM base:1\nENV A=\"b c\"\nWORKDIR /code\nCOPY . /code\nRUN make all\n");
  EXPECT_NE(ReadFile(home_ + "/asked").find("build -t px/user_demo:1 -f - ."), std::string::npos);
  EXPECT_EQ(Json({"project", "builds"}).size(), 1U);
  for (const char* verb : {"get", "statuses", "logs", "bookmark"}) {
    EXPECT_EQ(Launch({"build", "-b", "1", verb}).exit_code, 0) << verb;
  }
  EXPECT_EQ(Launch({"build", "-b", "1", "delete", "-y"}).exit_code, 0);
}

TEST_P(JobTest, AnExperimentRunsInItsImageWithTheMountBound) {
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\nbuild: {image: 'base:1'}\n"
        "run: {cmd: \"echo it's $PX_EXPERIMENT > $POLYAXON_OUTPUTS_PATH/said\"}\n");
  ASSERT_EQ(LaunchWith({Engine()}, {"run"}).exit_code, 0);
  EXPECT_EQ(WaitDone(1), "failed");  // a quote that is open, there as here
  Write("polyaxonfile.yml",
        "version: 1\nkind: experiment\nbuild: {image: 'base:1'}\n"
        "run: {cmd: \"echo \\\"it's $PX_EXPERIMENT\\\" > $POLYAXON_OUTPUTS_PATH/said\"}\n");
  ASSERT_EQ(LaunchWith({Engine()}, {"run"}).exit_code, 0);
  EXPECT_EQ(WaitDone(2), "succeeded") << Logs(2);
  const std::string outputs = OutputsOf(2);
  EXPECT_EQ(ReadFile(outputs + "/said"), "it's 2\n");
  const std::string asked = ReadFile(home_ + "/asked");
  EXPECT_NE(asked.find("--cgroups=disabled -v " + outputs + ":" + outputs), std::string::npos)
      << asked;
  EXPECT_NE(asked.find("-e POLYAXON_OUTPUTS_PATH"), std::string::npos);
  EXPECT_NE(asked.find("rm -f px-"), std::string::npos);
  EXPECT_EQ(Get(2)["runs"][0]["containment"].get<std::string>().find("container by "), 0U);
}

PX_LAUNCHER_SUITE(JobTest);

}  // namespace
}  // namespace px::testing
