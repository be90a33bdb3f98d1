"""What text may hold that people have written: names, addresses, subjects."""

import re

# Unicode's categories Cc, Zl and Zp, which never get another member: line ends and other control characters.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
