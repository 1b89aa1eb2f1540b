//! What the child takes from itself before it touches a model.
//!
//! A GGUF file is a stranger's input to half a million lines of C++. So the process that reads it can reach nothing: on
//! Linux a first seccomp filter and Landlock go up before the file is opened, a second filter when it is loaded. The
//! filters name what is refused, not what is allowed: OpenMP and libc may do what they like with memory and threads,
//! but nothing that leaves the process. Elsewhere there is no sandbox, and the report says so.
//!
//! With a GPU the driver needs its devices, so Landlock and the second filter stay down.

use crate::child::load::ModelFile;
use crate::protocol::{Load, Sandbox};

/// Whether the libraries of a GPU run in this process.
#[cfg(target_os = "linux")]
const GPU: bool = cfg!(any(feature = "cuda", feature = "vulkan"));

/// Closes every descriptor but the three standard ones: whatever the daemon's own parent left open is none of the
/// model's business.
pub(super) fn close_inherited() {
    #[cfg(target_os = "linux")]
    linux::close_inherited();
}

/// Lower priority, no core dumps, an optional bound on memory; on Linux, death with the parent. Each of these makes the
/// child a better citizen and none is needed, so what the system refuses is left out.
pub(super) fn humble(load: &Load) {
    use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
    let _ = setpriority_process(None, load.nice.clamp(0, 19));
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Some(bytes) = load.address_space_bytes {
        let _ = setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) });
    }
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    }
}

/// The first wall: from here on no sockets, no programs, no writing, and reading only the model.
///
/// # Errors
/// When the system refuses the filter: then no model is loaded.
#[cfg(target_os = "linux")]
pub(super) fn enter(file: &ModelFile) -> Result<Sandbox, String> {
    let reads_only_model = !GPU && linux::landlock(file.on_disk());
    linux::filter(&linux::refused_always()?)?;
    Ok(Sandbox {
        no_network: linux::cannot_open_socket(),
        no_programs: linux::cannot_start_program(),
        no_writes: linux::cannot_write(),
        reads_only_model: reads_only_model && linux::cannot_read(),
        no_files: false,
    })
}

/// Elsewhere there is none.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub(super) fn enter(_file: &ModelFile) -> Result<Sandbox, String> {
    Ok(Sandbox::default())
}

/// The second wall: the model is loaded, no file is opened any more.
///
/// # Errors
/// When the system refuses the filter.
#[cfg(target_os = "linux")]
pub(super) fn seal(report: &mut Sandbox) -> Result<(), String> {
    if !GPU {
        linux::filter(&linux::refused_when_loaded()?)?;
        report.no_files = linux::cannot_read();
    }
    Ok(())
}

/// Elsewhere there is none.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub(super) fn seal(_report: &mut Sandbox) -> Result<(), String> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::io::ErrorKind;
    use std::os::unix::process::CommandExt as _;
    use std::path::PathBuf;
    use std::process::Command;

    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
        RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    };
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as When,
        SeccompFilter, SeccompRule, TargetArch,
    };

    #[expect(unsafe_code, reason = "no safe wrapper closes a range of descriptors")]
    pub(super) fn close_inherited() {
        // SAFETY: called first thing in the process, before anything owns a descriptor above 2, so none is closed under
        // an owner's feet. The call takes integers only. Kernels before 5.9 refuse it, which leaves things as they
        // were.
        let _ = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    }

    /// Landlock: reading these files, and nothing else of the file system. False when the kernel has none of it.
    pub(super) fn landlock(paths: &[PathBuf]) -> bool {
        let handled = AccessFs::from_all(ABI::V5);
        let restrict = || {
            let mut rules = Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(handled)?
                .handle_access(AccessNet::from_all(ABI::V5))?
                .create()?;
            for path in paths {
                rules = rules.add_rule(PathBeneath::new(PathFd::new(path)?, AccessFs::ReadFile))?;
            }
            Ok::<_, Box<dyn std::error::Error>>(rules.restrict_self()?.ruleset)
        };
        restrict().is_ok_and(|status| status != RulesetStatus::NotEnforced)
    }

    /// Asks the kernel for a large register file.
    #[cfg(target_arch = "x86_64")]
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// Installs a filter that refuses these calls with "not permitted" and allows the rest, in every thread.
    pub(super) fn filter(rules: &Rules) -> Result<(), String> {
        // `clone3` passes its flags in memory, where a filter cannot look; libc falls back to `clone` when told that
        // the call does not exist. `openat2` has the same problem and nobody needs it.
        let absent: Rules = [(libc::SYS_clone3, vec![]), (libc::SYS_openat2, vec![])].into();
        for (rules, errno) in [(with_other_names(rules), libc::EPERM), (with_other_names(&absent), libc::ENOSYS)] {
            let refusal = SeccompAction::Errno(u32::try_from(errno).unwrap_or(1));
            let program = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch()?)
                .and_then(BpfProgram::try_from)
                .map_err(|e| format!("the sandbox could not be built: {e}"))?;
            seccompiler::apply_filter_all_threads(&program)
                .map_err(|e| format!("the system refused the sandbox: {e}"))?;
        }
        Ok(())
    }

    /// The same calls by the numbers of the x32 interface, where a kernel has it, and all that have numbers of their own
    /// there: a filter that names what is refused must know every name.
    #[cfg(target_arch = "x86_64")]
    fn with_other_names(rules: &Rules) -> Rules {
        const X32: i64 = 0x4000_0000;
        let own = (512..548).map(|call| (call | X32, vec![]));
        rules.iter().flat_map(|(call, rule)| [(*call, rule.clone()), (call | X32, vec![])]).chain(own).collect()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn with_other_names(rules: &Rules) -> Rules {
        rules.clone()
    }

    fn arch() -> Result<TargetArch, String> {
        std::env::consts::ARCH.try_into().map_err(|_| "there is no sandbox for this CPU".to_owned())
    }

    /// Sockets, programs, other processes, the kernel's doors, and writing.
    pub(super) fn refused_always() -> Result<Rules, String> {
        let mut rules: Rules = REFUSED.iter().map(|call| (*call, vec![])).collect();
        rules.extend(REFUSED_LEGACY.iter().map(|call| (*call, vec![])));
        // New threads, but no new processes.
        let thread = flags(libc::CLONE_THREAD)?;
        rules.insert(libc::SYS_clone, vec![rule(vec![when(0, Len::Dword, Op::MaskedEq(thread), 0)?])?]);
        // Signals to itself only: `abort` needs one.
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_kill, vec![rule(vec![when(0, Len::Dword, Op::Ne, own)?])?]);
        rules.insert(libc::SYS_tgkill, vec![rule(vec![when(0, Len::Dword, Op::Ne, own)?])?]);
        // Opening for reading only.
        rules.insert(libc::SYS_openat, opens_for_writing(2)?);
        #[cfg(target_arch = "x86_64")]
        {
            rules.insert(libc::SYS_open, opens_for_writing(1)?);
            // No AMX: GCC 12 drops most of the tile configuration that ggml writes, because the intrinsic claims to
            // read eight bytes of it, and the first tile is an illegal instruction. Without permission ggml takes
            // AVX-512.
            rules.insert(libc::SYS_arch_prctl, vec![rule(vec![when(0, Len::Dword, Op::Eq, ARCH_REQ_XCOMP_PERM)?])?]);
        }
        Ok(rules)
    }

    /// Any opening of any file, and finding one's way around.
    pub(super) fn refused_when_loaded() -> Result<Rules, String> {
        let mut rules: Rules = [(libc::SYS_openat, vec![]), (libc::SYS_chdir, vec![])].into();
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![]);
        Ok(rules)
    }

    fn opens_for_writing(argument: u8) -> Result<Vec<SeccompRule>, String> {
        [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC]
            .into_iter()
            .map(|flag| {
                let flag = flags(flag)?;
                rule(vec![when(argument, Len::Dword, Op::MaskedEq(flag), flag)?])
            })
            .collect()
    }

    fn flags(flags: i32) -> Result<u64, String> {
        u64::try_from(flags).map_err(|e| e.to_string())
    }

    fn when(argument: u8, length: Len, op: Op, value: u64) -> Result<When, String> {
        When::new(argument, length, op, value).map_err(|e| e.to_string())
    }

    fn rule(conditions: Vec<When>) -> Result<SeccompRule, String> {
        SeccompRule::new(conditions).map_err(|e| e.to_string())
    }

    /// The socket to the parent is open already, and reading and writing it needs none of these.
    const REFUSED: &[i64] = &[
        // Sockets, and io_uring, which opens them behind a filter's back.
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // Programs and other processes.
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_tkill,
        libc::SYS_setns,
        libc::SYS_unshare,
        // The kernel.
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_personality,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_by_handle_at,
        // Writing to the file system.
        libc::SYS_truncate,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_unlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_setxattr,
    ];

    /// The older names of some, which newer architectures do without.
    #[cfg(target_arch = "x86_64")]
    const REFUSED_LEGACY: &[i64] = &[
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_creat,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_mknod,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const REFUSED_LEGACY: &[i64] = &[];

    /// Tries; a filter that was installed is not yet a filter that works.
    pub(super) fn cannot_open_socket() -> bool {
        std::net::UdpSocket::bind("127.0.0.1:0").is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
    }

    /// Becoming another program fails for want of permission, not for want of the program.
    pub(super) fn cannot_start_program() -> bool {
        Command::new("/nonexistent").exec().kind() == ErrorKind::PermissionDenied
            && Command::new("/bin/true").status().is_err()
    }

    pub(super) fn cannot_write() -> bool {
        let file = std::fs::OpenOptions::new().write(true).open("/dev/null");
        file.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
    }

    /// Every Linux has this file, and everybody may read it.
    pub(super) fn cannot_read() -> bool {
        std::fs::File::open("/etc/passwd").is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
    }
}
