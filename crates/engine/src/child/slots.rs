//! Places for conversations, and which of them a new prompt goes to.
//!
//! Knows tokens and cache cells as numbers. Does not know llama.cpp: what is decided here is carried out by the
//! scheduler. A slot keeps the cells of its last conversation, and a prompt that begins like one of them starts where
//! the two part.

/// A place for one conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Slot {
    /// Tokens whose keys and values are in the cache, in order.
    pub(super) cached: Vec<i32>,
    /// Cells granted to the call that uses the slot; 0 when none does.
    pub(super) granted: usize,
    /// When it was last used, in steps.
    pub(super) used: u64,
}

/// Where a prompt goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: usize,
    /// Tokens at the beginning of the prompt that need not be computed.
    pub(super) reuse: usize,
    /// The slot that has them, when it is another one: they are shared, not copied.
    pub(super) share: Option<usize>,
    /// Idle slots whose cells must be freed.
    pub(super) evict: Vec<usize>,
}

/// How much of the cache can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cache {
    /// Cells for all slots together.
    pub(super) cells: usize,
    /// Whether the memory of a conversation can be cut anywhere and shared. Not so in recurrent models, whose memory is
    /// one state.
    pub(super) divisible: bool,
}

/// Finds a place for a prompt that needs `need` cells with its answer; `None` when it has to wait.
///
/// A slot whose conversation goes on is used as it is. A slot that shares only a beginning, such as the system prompt,
/// lends it: taking the slot itself would throw away a conversation that may go on too.
pub(super) fn place(slots: &[Slot], prompt: &[i32], need: usize, cache: Cache) -> Option<Place> {
    let idle = |index: &usize| slots.get(*index).is_some_and(|slot| slot.granted == 0);
    let longest = prompt.len().checked_sub(1)?;
    let common = |slot: &Slot| {
        let same = slot.cached.iter().zip(prompt).take_while(|(a, b)| a == b).count().min(longest);
        if cache.divisible || same == slot.cached.len() { same } else { 0 }
    };
    let best = slots.iter().enumerate().map(|(i, slot)| (common(slot), i)).max_by_key(|(same, i)| {
        // Of equals the idle one, which can be used in place.
        (*same, idle(i))
    });
    let (same, source) = best.filter(|(same, _)| *same > 0).map_or((0, None), |(same, i)| (same, Some(i)));
    let in_place = source
        .filter(|i| idle(i) && slots.get(*i).is_some_and(|slot| !cache.divisible || same * 2 >= slot.cached.len()));
    let slot = in_place.or_else(|| coldest(slots, &idle))?;
    let share = source.filter(|i| *i != slot && cache.divisible);
    let reuse = if share.is_some() || source == Some(slot) { same } else { 0 };
    let evict = evict(slots, (slot, share), need, cache.cells)?;
    Some(Place { slot, reuse, share, evict })
}

/// The idle slot that has been idle for longest; an empty one before any other.
fn coldest(slots: &[Slot], idle: &impl Fn(&usize) -> bool) -> Option<usize> {
    let candidates = slots.iter().enumerate().filter(|(i, _)| idle(i));
    candidates.min_by_key(|(_, slot)| (!slot.cached.is_empty(), slot.used)).map(|(i, _)| i)
}

/// Which idle conversations must go, oldest first, so that `need` cells are free; `None` when that is not enough.
/// Cells that two slots share are counted twice, which errs on the side of room.
fn evict(slots: &[Slot], spared: (usize, Option<usize>), need: usize, cells: usize) -> Option<Vec<usize>> {
    let (slot, share) = spared;
    let granted: usize = slots.iter().map(|slot| slot.granted).sum();
    let mut kept: Vec<(u64, usize, usize)> = slots
        .iter()
        .enumerate()
        .filter(|(i, s)| *i != slot && s.granted == 0 && !s.cached.is_empty())
        .map(|(i, s)| (s.used, i, s.cached.len()))
        .collect();
    // The lender goes last: its cells are wanted in a moment.
    kept.sort_unstable_by_key(|(used, i, _)| (Some(*i) == share, *used));
    let mut used = granted + need + kept.iter().map(|(_, _, length)| length).sum::<usize>();
    let mut gone = Vec::new();
    for (_, i, length) in kept {
        if used <= cells {
            break;
        }
        used -= length;
        gone.push(i);
    }
    (used <= cells).then_some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CACHE: Cache = Cache { cells: 100, divisible: true };

    fn idle(cached: &[i32], used: u64) -> Slot {
        Slot { cached: cached.to_vec(), granted: 0, used }
    }

    fn busy(cached: &[i32], granted: usize) -> Slot {
        Slot { cached: cached.to_vec(), granted, used: 9 }
    }

    #[test]
    fn a_conversation_goes_on_in_its_own_slot() {
        let slots = [idle(&[9, 9], 1), idle(&[1, 2, 3], 2), idle(&[], 0)];
        let place = place(&slots, &[1, 2, 3, 4, 5], 10, CACHE).unwrap();
        assert_eq!(place, Place { slot: 1, reuse: 3, share: None, evict: vec![] });
    }

    #[test]
    fn the_last_token_of_a_prompt_is_always_computed() {
        let place = place(&[idle(&[1, 2, 3], 1)], &[1, 2, 3], 5, CACHE).unwrap();
        assert_eq!((place.slot, place.reuse), (0, 2));
    }

    #[test]
    fn a_common_beginning_is_shared_and_the_other_conversation_stays() {
        let slots = [idle(&[1, 2, 3, 4, 5, 6], 5), idle(&[7], 1)];
        let shared = place(&slots, &[1, 2, 8, 8], 10, CACHE).unwrap();
        assert_eq!(shared, Place { slot: 1, reuse: 2, share: Some(0), evict: vec![] });
        let running = [busy(&[1, 2, 3], 20), idle(&[], 0)];
        let shared = place(&running, &[1, 2, 8, 8], 10, CACHE).unwrap();
        assert_eq!(shared, Place { slot: 1, reuse: 2, share: Some(0), evict: vec![] });
    }

    #[test]
    fn a_state_that_cannot_be_cut_is_used_whole_or_not_at_all() {
        let cache = Cache { divisible: false, ..CACHE };
        let slots = [idle(&[1, 2, 3], 1), idle(&[], 0)];
        assert_eq!(place(&slots, &[1, 2, 3, 4], 9, cache).unwrap().reuse, 3);
        assert_eq!(
            place(&slots, &[1, 2, 4, 4], 9, cache).unwrap(),
            Place { slot: 1, reuse: 0, share: None, evict: vec![] }
        );
    }

    #[test]
    fn the_oldest_idle_conversations_make_room() {
        let slots = [idle(&[1; 40], 3), idle(&[2; 30], 1), idle(&[], 0), busy(&[3; 5], 20)];
        let place = place(&slots, &[7, 7], 30, CACHE).unwrap();
        assert_eq!(place, Place { slot: 2, reuse: 0, share: None, evict: vec![1] });
    }

    #[test]
    fn a_prompt_waits_when_all_slots_are_busy_or_the_cache_is_promised() {
        assert_eq!(place(&[busy(&[], 10)], &[1, 2], 5, CACHE), None);
        assert_eq!(place(&[busy(&[], 80), idle(&[], 0)], &[1, 2], 30, CACHE), None);
    }

    proptest! {
        #[test]
        fn a_place_is_always_sound(
            slots in proptest::collection::vec((proptest::collection::vec(0_i32..3, 0..12), 0_usize..3, 0_u64..5), 1..6),
            prompt in proptest::collection::vec(0_i32..3, 1..12),
            need in 1_usize..40,
            divisible: bool,
        ) {
            let slots: Vec<Slot> = slots
                .into_iter()
                .map(|(cached, busy, used)| Slot { granted: if busy == 0 { cached.len() + 1 } else { 0 }, cached, used })
                .collect();
            let cache = Cache { cells: 60, divisible };
            if let Some(p) = place(&slots, &prompt, need, cache) {
                prop_assert_eq!(slots[p.slot].granted, 0);
                prop_assert!(p.reuse < prompt.len());
                let source = &slots[p.share.unwrap_or(p.slot)];
                prop_assert_eq!(&source.cached[..p.reuse], &prompt[..p.reuse]);
                prop_assert!(!p.evict.contains(&p.slot));
                prop_assert!(p.evict.iter().all(|i| slots[*i].granted == 0));
                let kept: usize = slots.iter().enumerate()
                    .filter(|(i, s)| *i != p.slot && s.granted == 0 && !p.evict.contains(i))
                    .map(|(_, s)| s.cached.len()).sum();
                let granted: usize = slots.iter().map(|s| s.granted).sum();
                prop_assert!(granted + kept + need <= cache.cells);
            }
        }
    }
}
