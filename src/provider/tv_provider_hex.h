/*
 * tv_provider_hex.h
 *	  Hexadecimal digits, in URIs and in keys.
 */
#ifndef TV_PROVIDER_HEX_H
#define TV_PROVIDER_HEX_H

/* Value of a hexadecimal digit of either case; -1 if c is none. */
static inline int
tv_provider_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif							/* TV_PROVIDER_HEX_H */
