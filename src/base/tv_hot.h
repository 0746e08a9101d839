/*
 * tv_hot.h
 *	  Which functions every statement passes, also those that we have nothing to
 *	  do with, and what they look at.
 */
#ifndef TV_HOT_H
#define TV_HOT_H

/*
 * Each of them is a few dozen instructions: what they cost is fetching them.  The
 * compiler puts functions that are marked side by side (section .text.hot, GCC's
 * manual, "Common Function Attributes"), so that they share pages and cache
 * lines instead of pushing out the server's.  See decision 0027.
 */
#define TV_HOT __attribute__((hot, section(".text.sorted.tv_hot")))

/*
 * The same for those that only statements pass where a vault is on, or whose
 * tables are encrypted.  They stand before the others (ld's own script: .text.hot,
 * then .text.sorted), which share no line with them.
 */
#define TV_HOT_VAULT __attribute__((hot))

/*
 * Variables that they look at: side by side, too, in a section of their own.  A
 * pointer alone in its cache line costs as much as eight.
 */
#define TV_HOT_DATA __attribute__((section("tv_hot_data")))

#endif							/* TV_HOT_H */
