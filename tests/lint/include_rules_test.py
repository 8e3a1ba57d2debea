"""The include rules can fail: each rule against a line that breaks it and one that keeps it."""

import io
import pathlib
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import include_rules  # noqa: E402


def problems(path, text):
    return [message for _, message in include_rules.check_file(path, text)]


class ProjectIncludes(unittest.TestCase):
    def assert_allowed(self, path, header):
        self.assertEqual(problems(path, f'#include "{header}"\n'), [])

    def assert_refused(self, path, header):
        self.assertEqual(len(problems(path, f'#include "{header}"\n')), 1, (path, header))

    def test_one_way(self):
        for path, header in [
            ("cow/a.cc", "base/result.h"),
            ("cow/a.cc", "cow/store.h"),
            ("fs/a.cc", "cow/store.h"),
            ("fs/main.cc", "catalog/page_table.h"),
            ("catalog/a.cc", "cow/page_table.h"),
            ("catalog/a.cc", "cow/ids.h"),
            ("launcher/a.cc", "catalog/catalog.h"),
            ("launcher/a.cc", "uapi/px_ioctl.h"),
            ("tests/unit/a.cc", "fs/ops.h"),
        ]:
            self.assert_allowed(path, header)

    def test_the_other_way_is_refused(self):
        for path, header in [
            ("base/a.h", "cow/store.h"),
            ("cow/a.cc", "fs/ops.h"),
            ("cow/a.cc", "catalog/sqlite.h"),
            ("catalog/a.cc", "cow/store.h"),
            ("catalog/a.cc", "launcher/run.h"),
            ("fs/a.cc", "launcher/run.h"),
            ("fs/a.cc", "catalog/experiments.h"),
            ("launcher/a.cc", "cow/store.h"),
            ("launcher/a.cc", "fs/ops.h"),
            ("uapi/px_ioctl.h", "base/result.h"),
        ]:
            self.assert_refused(path, header)


class SystemIncludes(unittest.TestCase):
    def test_fuse_only_in_fs_and_its_tests(self):
        for header in ["fuse_lowlevel.h", "fuse3/fuse.h", "linux/fuse.h", "fuse.h"]:
            line = f"#include <{header}>\n"
            self.assertEqual(problems("fs/session.cc", line), [])
            self.assertEqual(problems("tests/mount/a.cc", line), [])
            for path in ["cow/a.cc", "launcher/a.cc", "base/a.h", "tests/unit/a.cc"]:
                self.assertEqual(len(problems(path, line)), 1, (path, header))

    def test_sqlite_only_in_catalog(self):
        self.assertEqual(problems("catalog/sqlite.h", "#include <sqlite3.h>\n"), [])
        for path in ["cow/a.cc", "fs/a.cc", "launcher/a.cc"]:
            self.assertEqual(len(problems(path, "# include <sqlite3.h>\n")), 1)

    def test_yaml_only_in_launcher(self):
        self.assertEqual(problems("launcher/a.cc", "#include <yaml-cpp/yaml.h>\n"), [])
        self.assertEqual(len(problems("fs/a.cc", "#include <yaml-cpp/yaml.h>\n")), 1)


class Calls(unittest.TestCase):
    def test_only_the_launcher_and_the_mount_command_start_processes(self):
        for line in ["pid_t p = ::fork();", "if (fork() == 0) {", "posix_spawn(&p, a);"]:
            self.assertEqual(problems("launcher/a.cc", line), [])
            self.assertEqual(problems("fs/mount_command.cc", line), [])
            for path in ["cow/a.cc", "fs/open.cc"]:
                self.assertEqual(len(problems(path, line)), 1, (path, line))

    def test_comments_literals_and_other_names_do_not_count(self):
        for line in ["// fork() here", 'Log("fork()");', "store.fork();", "prefork();", "/* fork() */"]:
            self.assertEqual(problems("cow/a.cc", line), [], line)


class Tree(unittest.TestCase):
    def run_main(self, root):
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
            return include_rules.main(["include_rules.py", root]), out.getvalue()

    def test_names_file_and_line_and_exits_1(self):
        with tempfile.TemporaryDirectory() as root:
            (pathlib.Path(root) / "cow").mkdir()
            (pathlib.Path(root) / "cow" / "a.cc").write_text('\n#include "fs/ops.h"\n')
            code, out = self.run_main(root)
            self.assertEqual(code, 1)
            self.assertIn('cow/a.cc:2: cow/ must not include "fs/ops.h"', out)

    def test_a_tree_without_sources_is_an_error(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertEqual(self.run_main(root)[0], 2)


if __name__ == "__main__":
    unittest.main()
