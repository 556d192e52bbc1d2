"""The theory behind the step sizes, as code that can be run and checked.

| module | holds |
|---|---|
| `problems` | functions whose constants are known, and operations that keep them known |
| `smoothness` | `Smoothness`, the constants and their closure rules as arithmetic |
| `descent` | gradient descent on a problem with a step rule, counted in steps |
| `bounds` | upper bounds on those steps, each with the guard under which it is proved |
| `bounds_power` | the same for exponents above 1 |
| `bounds_noise` | the same for stochastic gradients whose noise does not vanish |
| `certify` | a search for a point that violates claimed constants |

Example: constants claimed for a sum are wrong if the parts disagree about their minimiser.

>>> from keras_h0h1.theory import Smoothness, certify, problems
>>> left = problems.Cosh().affine([[1.0]], [2.0])
>>> right = problems.Cosh().affine([[1.0]], [-2.0])
>>> added_up = Smoothness(H0=2.0, H1=2.0, f_star=(left + right).minimum)
>>> certify.find_violation(left + right, added_up).violated
True
>>> certify.find_violation(left + right).violated
False
"""

from keras_h0h1.theory import bounds, bounds_noise, bounds_power, certify, descent, problems
from keras_h0h1.theory.smoothness import Smoothness

__all__ = ["Smoothness", "bounds", "bounds_noise", "bounds_power", "certify", "descent", "problems"]
