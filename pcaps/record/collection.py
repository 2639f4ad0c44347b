"""The recordings of the collection; importing this module enters all of them."""

import collection_boxes  # noqa: F401
import collection_innocent  # noqa: F401
import collection_tools  # noqa: F401
import evenings  # noqa: F401
