//! Runs sshd under a memory checker: valgrind, or AddressSanitizer with a module that is built for it. On
//! Debian 12 only, whose sshd can run without its sandbox.

use std::fs;
use std::path::{Path, PathBuf};

use crate::built;
use crate::files::put;
use crate::machine::Machine;
use crate::process::{brief, run};

/// Path of the library in a machine that lets sshd run without its sandbox.
const NO_SANDBOX: &str = "usr/lib/no_sandbox.so";

/// valgrind's suppressions.
const SUPPRESSIONS: (&str, &str) = ("usr/lib/valgrind.supp", include_str!("valgrind.supp"));

/// Directory of reports in a machine; everybody may write there.
const REPORTS: &str = "/tmp";

/// The memory checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// valgrind, with any build of the module.
    Valgrind,
    /// AddressSanitizer, with a build of the module for it that can inject faults.
    AddressSanitizer,
}

impl Watcher {
    /// Adds the files that it needs to a machine's.
    pub(crate) fn seed(seed: &Path) {
        put(&seed.join(SUPPRESSIONS.0), 0o644, SUPPRESSIONS.1);
        let (source, library) =
            (built::workspace().join("tests/harness/no_sandbox.c"), seed.join(NO_SANDBOX));
        run(brief("gcc").args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(library).arg(source));
    }

    /// The words before sshd's command line. The person's shell is not watched. If the module has no symbol
    /// names, valgrind cannot know which reports to suppress, and does not check for uninitialised memory.
    pub(crate) fn command(self, module_has_names: bool) -> String {
        match self {
            Self::Valgrind => format!(
                "env LD_PRELOAD=/{NO_SANDBOX} valgrind --quiet --trace-children=yes --trace-children-skip=*/bash \
                 --undef-value-errors={} --suppressions=/{} --num-callers=40 --keep-debuginfo=yes \
                 --leak-check=full --show-leak-kinds=definite --log-file={REPORTS}/report.%p",
                if module_has_names { "yes" } else { "no" },
                SUPPRESSIONS.0
            ),
            Self::AddressSanitizer => format!(
                "env LD_PRELOAD={}:/{NO_SANDBOX} \
                 ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:log_path={REPORTS}/report",
                libasan().display()
            ),
        }
    }
}

impl Machine {
    /// The reports about the module, one text for each.
    pub fn reports_of_module(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path(REPORTS)).unwrap().flatten();
        let files = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("report."));
        let texts = files.map(|file| fs::read_to_string(file.path()).unwrap());
        let reports = texts.flat_map(|text| split(&text));
        reports.filter(|report| report.contains("pam_kbmfa.so")).collect()
    }
}

/// Splits the output into reports. Both checkers print an empty line between reports; valgrind begins each
/// line with `==pid== `.
fn split(text: &str) -> Vec<String> {
    let bare = |line: &str| {
        line.strip_prefix("==").and_then(|rest| rest.split_once("== ")).map(|(_, rest)| rest.to_owned())
    };
    let lines: Vec<String> = text.lines().map(|line| bare(line).unwrap_or_else(|| line.to_owned())).collect();
    lines.split(|line| line.trim().is_empty()).map(|report| report.join("\n")).collect()
}

fn libasan() -> PathBuf {
    let name = run(brief("gcc").arg("-print-file-name=libasan.so"));
    fs::canonicalize(name.trim()).unwrap()
}
