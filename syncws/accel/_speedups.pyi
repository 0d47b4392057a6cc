from .pure import Channel as Channel
from .pure import CompressorBudget as CompressorBudget
from .pure import Deflater as Deflater
from .pure import FrameParser as FrameParser
from .pure import Inflater as Inflater
from .pure import MessageQueue as MessageQueue
from .pure import WriteLock as WriteLock
from .pure import apply_mask as apply_mask
from .pure import serialize_frame as serialize_frame
from .pure import serialize_messages as serialize_messages
from .pure import split_head as split_head

def forget_masking_keys() -> None: ...
def renew_turnstile() -> None: ...
