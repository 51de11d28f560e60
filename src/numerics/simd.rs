//! The widest instructions of the machine at hand, chosen when the program runs.

/// The instruction set that the kernels use on this machine, for reports and benchmarks.
pub fn instruction_set() -> &'static str {
    match InstructionSet::detect() {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => "AVX2 and FMA",
        InstructionSet::Portable => "portable",
    }
}

/// Proof that the machine has an instruction set: only what detects it makes values other than `Portable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstructionSet {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl InstructionSet {
    /// All that this machine has, best first.
    #[cfg(test)]
    pub(super) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let found = [Self::avx512(), Self::avx2()];
        #[cfg(not(target_arch = "x86_64"))]
        let found = [];
        found.into_iter().flatten().chain([Self::Portable])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn avx512() -> Option<Self> {
        (std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("popcnt"))
            .then_some(Self::Avx512)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn avx2() -> Option<Self> {
        (std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"))
            .then_some(Self::Avx2)
    }

    /// The best one: asked some ten times a lookup. The detection is cached by the standard library.
    #[inline]
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        let found = Self::avx512().or_else(Self::avx2);
        #[cfg(not(target_arch = "x86_64"))]
        let found = None;
        found.unwrap_or(Self::Portable)
    }
}

/// Proof that the machine has AVX-512 and its products of bytes (VNNI).
#[derive(Clone, Copy, Debug)]
pub(super) struct Vnni(());

impl Vnni {
    pub(super) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        let found = InstructionSet::detect() == InstructionSet::Avx512
            && std::arch::is_x86_feature_detected!("avx512vnni");
        #[cfg(not(target_arch = "x86_64"))]
        let found = false;
        found.then_some(Self(()))
    }
}

/// A loop to compile once for every instruction set: the same arithmetic on more values at once, so the
/// results are the same (multiplications and additions are fused where `mul_add` says so and nowhere else). `run` must be `#[inline(always)]`, so that it
/// becomes part of the function that enables the instructions.
pub trait Kernel {
    type Output;
    fn run(self) -> Self::Output;
}

pub(super) fn dispatch<K: Kernel>(set: InstructionSet, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,popcnt")]
    fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }
    match set {
        // SAFETY: the kernels are safe code; the only demand is that the processor has the enabled
        // instructions, and these two values exist only where they were detected.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { with_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { with_avx2(kernel) },
        InstructionSet::Portable => kernel.run(),
    }
}

/// Runs a kernel with the best instruction set of this machine.
pub fn widest<K: Kernel>(kernel: K) -> K::Output {
    dispatch(InstructionSet::detect(), kernel)
}

/// Asks for memory that is read soon. Changes nothing but the time.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    // SAFETY: a prefetch of any address is harmless, and this one is of a value that there is.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(value).cast(),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
